import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import type { Redis } from './connect.ts';
import { Script } from './script.ts';

const noteScript = new Script('note-replay');

/**
 * Notes a replaying chunk as in flight, so that range deletes that come later wait for it.
 * @returns the epoch of Redis, or undefined when a range delete is at work: try again when it has settled
 */
export async function noteReplay(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  operations: readonly { readonly id: string; readonly stamp: Stamp }[],
): Promise<string | undefined> {
  const reply = await noteScript.run(
    redis,
    [keys.inflight, keys.pending, keys.ranges, keys.clock],
    [chunkId, randomUUID(), ...operations.flatMap(({ id, stamp }) => [id, stamp])],
  );
  return z.string().nullable().parse(reply) ?? undefined;
}

/** Takes the note back: the chunk was never queued. */
export async function forgetReplay(redis: Redis, keys: Keys, chunkId: string): Promise<void> {
  await redis.zrem(keys.inflight, chunkId);
}
