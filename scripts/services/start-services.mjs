import { startPrivatePostgres } from './postgres.mjs';
import { startTogether } from './private-server.mjs';
import { startPrivateCache, startPrivateRedis, startPrivateRedisCluster } from './redis.mjs';

/**
 * Gives a program the servers it needs: those that the environment names, else private ones that end with this process.
 * @param say told which servers they are
 * @param withCache whether L2 gets a Redis of its own, as the docs advise; else a private Redis serves both
 * @param redisCluster whether a private Redis is a cluster, which serves both
 * @param shards how many private Postgres servers; several are the shards a, b and so on, and DATABASE_URL is the first
 */
export async function startServices(say, { withCache, redisCluster, shards }) {
  const { REDIS_URL, DATABASE_URL, TIERLINE_SHARDS } = process.env;
  if (shards > 1 && DATABASE_URL && !TIERLINE_SHARDS) {
    throw new Error('DATABASE_URL names one Postgres: name all of them in TIERLINE_SHARDS');
  }
  const names = TIERLINE_SHARDS ? [] : 'abcdefghi'.slice(0, shards).split('');
  const variables = names.map((name) => (name === 'a' ? 'DATABASE_URL' : `shard ${name}`));
  const starters = {
    REDIS_URL: redisCluster ? startPrivateRedisCluster : startPrivateRedis,
    // Whoever brings a Redis decides what is in it.
    ...(withCache && !redisCluster && !REDIS_URL && { CACHE_REDIS_URL: startPrivateCache }),
    ...Object.fromEntries(variables.map((variable) => [variable, startPrivatePostgres])),
  };
  const { servers, stop } = await startTogether(
    Object.entries(starters).map(([variable, start]) => serviceOf(variable, start, say)),
  );
  const env = Object.fromEntries(Object.keys(starters).map((variable, i) => [variable, servers[i].url]));
  // Tests may leave databases behind.
  if (!DATABASE_URL && !TIERLINE_SHARDS) env.TEST_PRIVATE_POSTGRES = '1';
  if (names.length > 1) {
    env.TIERLINE_SHARDS = names.map((name, i) => `${name}=${env[variables[i]]}`).join();
    for (const variable of variables.slice(1)) delete env[variable];
  }
  return { env, stop };
}

async function serviceOf(variable, startPrivate, say) {
  const url = process.env[variable];
  if (!url) return startPrivate(say);
  // Never the whole address: it may hold a password.
  say(`${variable}: ${/^[\w+]+:\/\/(?:[^/?]*@)?([^/?@]+)/.exec(url)?.[1] ?? 'as given'}`);
  return { url, stop: async () => {} };
}
