import { z } from 'zod';
import type { Chunk } from '../batch/fold.ts';
import { stampToMs } from '../clock.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import { isReplay } from '../schema/job.ts';
import type { Redis } from './client.ts';
import { repliesOf } from './commands.ts';

/**
 * What settled over the last hour, for plots. There is one hash a minute. Its fields `<slot>:<step>` count the items that
 * settled in slot 0 to 5 (10 s each) with a latency of that step. A step is half an octave, so a latency read back is at most
 * 1.42 times too high. Hashes expire, so there are about 61 of a few dozen fields.
 */
const MINUTE_MS = 60_000;
export const SLOT_MS = 10_000;
const SLOTS = MINUTE_MS / SLOT_MS;
const KEPT_MINUTES = 60;
const TTL_S = (KEPT_MINUTES + 5) * 60;

interface SeriesParts {
  readonly queue: Redis;
  readonly keys: Keys;
  readonly log: Logger;
}

/**
 * Counts settled chunks. Nobody waits for it, so that it cannot delay a batch or make it fail; the figures may lose one.
 * @param atMs when they settled, on the clock that gives the stamps
 */
export function recordSettled(
  { queue, keys, log }: SeriesParts,
  atMs: number,
  chunks: readonly Chunk[],
): void {
  const key = keys.series(Math.floor(atMs / MINUTE_MS));
  const slot = Math.floor(atMs / SLOT_MS) % SLOTS;
  const bySteps = new Map<number, number>();
  for (const { chunkId, job } of chunks) {
    // A replayed dead letter keeps its old stamp, so its age is no latency.
    if (isReplay(chunkId)) continue;
    const step = stepOf(atMs - stampToMs(job.first));
    bySteps.set(step, (bySteps.get(step) ?? 0) + job.ids.length);
  }
  if (bySteps.size === 0) return;
  const pipeline = queue.pipeline();
  for (const [step, items] of bySteps) pipeline.hincrby(key, `${slot}:${step}`, items);
  pipeline.expire(key, TTL_S);
  pipeline.exec().catch((error: unknown) => log.debug({ err: error }, 'figures of a batch were not kept'));
}

export interface SeriesPoint {
  /** Start of the slot, in milliseconds since 1970. */
  readonly atMs: number;
  readonly items: number;
  /** Median and 99th percentile of the latency; undefined when nothing settled. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

/** The last hour, oldest first, one point a slot. Leaves out the current slot, which would end every plot in a dip. */
export async function readSeries(redis: Redis, keys: Keys, nowMs: number): Promise<SeriesPoint[]> {
  const end = Math.floor(nowMs / SLOT_MS);
  const slots = Array.from({ length: KEPT_MINUTES * SLOTS }, (_, i) => end - KEPT_MINUTES * SLOTS + i);
  const minutes = [...new Set(slots.map((slot) => Math.floor(slot / SLOTS)))];
  const pipeline = redis.pipeline();
  for (const minute of minutes) pipeline.hgetall(keys.series(minute));
  const replies = await repliesOf(pipeline);
  const counts = new Map<number, [step: number, items: number][]>();
  replies.forEach((reply, i) => {
    for (const [field, items] of Object.entries(reply as Record<string, string>)) {
      const [slot = 0, step = 0] = field.split(':').map(Number);
      const at = (minutes[i] as number) * SLOTS + slot;
      counts.set(at, [...(counts.get(at) ?? []), [step, Number(items)]]);
    }
  });
  return slots.map((slot) => pointOf(slot * SLOT_MS, counts.get(slot) ?? []));
}

function pointOf(atMs: number, counts: readonly (readonly [step: number, items: number])[]): SeriesPoint {
  const items = counts.reduce((sum, [, count]) => sum + count, 0);
  return { atMs, items, p50Ms: quantile(counts, items, 0.5), p99Ms: quantile(counts, items, 0.99) };
}

/** The latency that a share of counted items does not exceed; undefined when there are none. */
export function quantile(
  counts: readonly (readonly [step: number, items: number])[],
  items: number,
  share: number,
): number | undefined {
  let seen = 0;
  for (const [step, count] of counts.toSorted(([a], [b]) => a - b)) {
    seen += count;
    if (seen >= items * share) return latencyOf(step);
  }
  return undefined;
}

export function stepOf(latencyMs: number): number {
  return Math.max(0, Math.ceil(2 * Math.log2(Math.max(latencyMs, 1))));
}

function latencyOf(step: number): number {
  return Math.round(2 ** (step / 2));
}

const choreRunSchema = z.object({ atMs: z.number(), ms: z.number(), error: z.string().optional() });
/** The last run of a chore: when it ended (milliseconds since 1970), how long it took, and why it failed if it did. */
export type ChoreRun = z.output<typeof choreRunSchema>;

export async function noteChore(redis: Redis, keys: Keys, chore: string, run: ChoreRun): Promise<void> {
  await redis.hset(keys.chores, chore, JSON.stringify(run));
}

/** The last run of each chore, by its name. */
export async function choreRuns(redis: Redis, keys: Keys): Promise<Map<string, ChoreRun>> {
  const stored = await redis.hgetall(keys.chores);
  return new Map(
    Object.entries(stored).map(([chore, run]) => [chore, choreRunSchema.parse(JSON.parse(run))]),
  );
}
