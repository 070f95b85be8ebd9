import { checkGivenPostgres } from './given-postgres.mjs';
import { checkGivenRedis } from './given-redis.mjs';
import { startPrivatePostgres } from './private-postgres.mjs';
import { startPrivateRedis } from './private-redis.mjs';

/**
 * Gives a program the Redis and the Postgres it needs: those REDIS_URL and DATABASE_URL name, else private ones
 * that end with this process. `find` replaces the search for installed servers.
 */
export async function startServices({ log, find = {} }) {
  const { REDIS_URL, DATABASE_URL } = process.env;
  const results = await Promise.allSettled([
    REDIS_URL ? useGiven('REDIS_URL', checkGivenRedis, log) : startPrivateRedis({ log, find: find.redis }),
    DATABASE_URL
      ? useGiven('DATABASE_URL', checkGivenPostgres, log)
      : startPrivatePostgres({ log, find: find.postgres }),
  ]);
  const services = results.filter(({ status }) => status === 'fulfilled').map(({ value }) => value);
  const stop = async () => {
    await Promise.all(services.map((service) => service.stop()));
  };

  const failed = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  if (failed.length > 0) {
    await stop();
    throw new Error(failed.map(({ message }) => message).join('\n'), { cause: failed[0] });
  }
  const [redis, postgres] = services;
  return { env: { REDIS_URL: redis.url, DATABASE_URL: postgres.url }, stop };
}

async function useGiven(name, check, log) {
  const url = process.env[name];
  if (!URL.canParse(url)) throw new Error(`${name} is not a URL`);
  log(await check(url));
  return { url, stop: async () => {} };
}
