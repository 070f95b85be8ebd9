import { startPrivatePostgres } from './postgres.mjs';
import { startPrivateRedis } from './redis.mjs';

/**
 * Gives a program the Redis and the Postgres it needs: those that REDIS_URL and DATABASE_URL name, else private ones that end
 * with this process.
 * @param say told which servers they are
 */
export async function startServices(say) {
  const started = await Promise.allSettled([
    serviceOf('REDIS_URL', startPrivateRedis, say),
    serviceOf('DATABASE_URL', startPrivatePostgres, say),
  ]);
  const services = started.flatMap(({ value }) => value ?? []);
  const stop = () => Promise.all(services.map((service) => service.stop()));
  const failure = started.find(({ status }) => status === 'rejected')?.reason;
  if (failure !== undefined) {
    await stop();
    throw failure;
  }
  return { env: { REDIS_URL: services[0].url, DATABASE_URL: services[1].url }, stop };
}

async function serviceOf(variable, startPrivate, say) {
  const url = process.env[variable];
  if (!url) return startPrivate(say);
  // Never the whole address: it may hold a password.
  say(`${variable}: ${URL.canParse(url) ? new URL(url).host : 'as given'}`);
  return { url, stop: async () => {} };
}
