import { startPrivatePostgres } from './postgres.mjs';
import { startPrivateCache, startPrivateRedis, startPrivateRedisCluster } from './redis.mjs';

/**
 * Gives a program the servers it needs: those that the environment names, else private ones that end with this process.
 * @param say told which servers they are
 * @param withCache whether L2 gets a Redis of its own, as the docs advise; else a private Redis serves both
 * @param redisCluster whether a private Redis is a cluster, which serves both
 */
export async function startServices(say, { withCache, redisCluster }) {
  const starters = {
    REDIS_URL: redisCluster ? startPrivateRedisCluster : startPrivateRedis,
    DATABASE_URL: startPrivatePostgres,
    // Whoever brings a Redis decides what is in it.
    ...(withCache && !redisCluster && !process.env.REDIS_URL && { CACHE_REDIS_URL: startPrivateCache }),
  };
  const variables = Object.keys(starters);
  const started = await Promise.allSettled(variables.map((name) => serviceOf(name, starters[name], say)));
  const services = started.flatMap(({ value }) => value ?? []);
  const stop = () => Promise.all(services.map((service) => service.stop()));
  const failure = started.find(({ status }) => status === 'rejected')?.reason;
  if (failure !== undefined) {
    await stop();
    throw failure;
  }
  return { env: Object.fromEntries(variables.map((name, i) => [name, services[i].url])), stop };
}

async function serviceOf(variable, startPrivate, say) {
  const url = process.env[variable];
  if (!url) return startPrivate(say);
  // Never the whole address: it may hold a password.
  say(`${variable}: ${/^[\w+]+:\/\/(?:[^/?]*@)?([^/?@]+)/.exec(url)?.[1] ?? 'as given'}`);
  return { url, stop: async () => {} };
}
