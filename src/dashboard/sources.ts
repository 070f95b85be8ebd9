import { within } from '../abortable.ts';
import type { Queue } from 'bullmq';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { type Keys, MAINTENANCE_QUEUE, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { checkGivenMerkleKey } from '../postgres/merkle-key.ts';
import type { Shards } from '../postgres/shards.ts';
import { openQueue } from '../redis/bull-queue.ts';
import type { CacheGeneration } from '../redis/cache-generation.ts';
import type { Redis } from '../redis/client.ts';
import type { CopyStore } from '../tiers/tier.ts';
import { Backends } from '../tiers/backends.ts';

/** What the pages are made from. */
export interface Sources {
  readonly config: Config;
  readonly log: Logger;
  /** Of what is there once for the deployment. */
  readonly keys: Keys;
  readonly lanes: Lanes;
  /** `failFast` connections: a page tells what is away instead of waiting for it. */
  readonly queue: Redis;
  readonly cache: Redis;
  readonly generation: CacheGeneration;
  readonly items: CopyStore;
  readonly shards: Shards;
  /** By partition. */
  readonly writes: readonly Queue[];
  readonly ranges: readonly Queue[];
  readonly maintenance: Queue;
}

const POOL_SIZE = 4;

/** @throws QueueUnavailableError, TierUnavailableError, SchemaMissingError, MerkleKeyError */
export async function openSources(
  config: Config,
  log: Logger,
): Promise<{ sources: Sources; close: () => Promise<void> }> {
  const backends = new Backends(config, log, POOL_SIZE);
  const { queue, cache, generation, items, shards, keys } = backends;
  const queues: Queue[] = [];
  const open = (name: string, of: Keys): Queue => {
    const opened = openQueue(name, queue, of, log);
    queues.push(opened);
    return opened;
  };
  const closeQueues = () => Promise.all(queues.map((opened) => opened.close()));
  const sources = await backends.opening(async () => {
    await Promise.all([backends.ready(backends.startTimeoutMs, 'queue'), backends.postgresReady()]);
    const lanes = await backends.lanes();
    await backends.ready(backends.startTimeoutMs, 'cache');
    await shards.each(({ pool }) => checkGivenMerkleKey(pool, config.merkleKey));
    const writes = lanes.keys.map((lane) => open(WRITES_QUEUE, lane));
    const ranges = lanes.keys.map((lane) => open(RANGES_QUEUE, lane));
    const maintenance = open(MAINTENANCE_QUEUE, keys);
    await Promise.all(queues.map((opened) => opened.waitUntilReady())).catch(async (error: unknown) => {
      await closeQueues();
      throw error;
    });
    return { config, log, keys, lanes, queue, cache, generation, items, shards, writes, ranges, maintenance };
  });
  const close = async () => {
    await closeQueues();
    await backends.close();
  };
  return { sources, close };
}

/** What one backend says, or why it says nothing: a page shows what it can. */
export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly why: string };

/** How long a page waits for an answer. A server that went silent keeps its connections open, so waiting needs a limit. */
const ANSWER_MS = 3000;

/** Never throws. */
export async function answerOf<T>(work: Promise<T>): Promise<Answer<T>> {
  try {
    return { ok: true, value: await within(ANSWER_MS, work) };
  } catch (error) {
    return { ok: false, why: messageOf(error) };
  }
}
