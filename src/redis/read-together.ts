import type { Redis } from 'ioredis';
import { z } from 'zod';
import { Script } from './script.ts';

const readScript = new Script('read-together');
const repliesSchema = z.array(z.unknown());

/**
 * The replies of some reads as of one moment, also while Redis is at its `maxmemory`.
 * @param reads the command and its arguments, at most 7,000
 */
export async function readTogether(
  redis: Redis,
  keys: readonly string[],
  reads: readonly (readonly string[])[],
): Promise<unknown[]> {
  return repliesSchema.parse(await readScript.run(redis, keys, [JSON.stringify(reads)]));
}
