import { refusal } from './minimum.mjs';
import { askRedis } from './resp.mjs';

/** Checks the Redis somebody pointed us at, and says which one it is. */
export async function checkGivenRedis(address) {
  const url = new URL(address);
  // Never the whole address: it may hold a password.
  const place = url.host;
  let info;
  try {
    [info] = await askRedis(url, [['INFO', 'server']]);
  } catch (error) {
    throw new Error(`Redis at ${place} (REDIS_URL) cannot be used: ${error.message || error.code}`, {
      cause: error,
    });
  }
  const valkey = field(info, 'valkey_version');
  const product = valkey === undefined ? 'Redis' : 'Valkey';
  const version = valkey ?? field(info, 'redis_version') ?? '0';
  const reason = refusal({ product, version, place });
  if (reason !== undefined) throw new Error(reason);
  return `${product} ${version} at ${place}`;
}

function field(info, name) {
  return new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1];
}
