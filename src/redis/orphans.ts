import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type Keys, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { Script } from './script.ts';

const sweepScript = new Script('sweep-orphans');
const sweepReply = z.tuple([z.int(), z.int(), z.string()]);

/** Much longer than any submit takes: a chunk this old without a job was never queued. */
const ORPHAN_AGE_US = 60_000_000;

export interface Swept {
  readonly chunks: number;
  readonly ids: number;
}

/** Drops notes of chunks that were stamped but never queued. A few hundred ids a call, so Redis serves others in between. */
export async function sweepOrphans(redis: Redis, keys: Keys, ageUs = ORPHAN_AGE_US): Promise<Swept> {
  const jobPrefixes = [WRITES_QUEUE, RANGES_QUEUE].map((queue) => `${keys.queuePrefix}:${queue}:`);
  let chunks = 0;
  let ids = 0;
  let cursor = '0';
  do {
    const reply = await sweepScript.run(
      redis,
      [keys.inflight, keys.pending, keys.ranges],
      [ageUs, cursor, ...jobPrefixes],
    );
    const [droppedChunks, droppedIds, next] = sweepReply.parse(reply);
    chunks += droppedChunks;
    ids += droppedIds;
    cursor = next;
  } while (cursor !== '0');
  return { chunks, ids };
}
