import { z } from 'zod';
import type { Keys } from '../keys.ts';
import type { Redis } from './connect.ts';

const choreRunSchema = z.object({ atMs: z.number(), ms: z.number(), error: z.string().optional() });
/** The last run of a chore: when it ended (milliseconds since 1970), how long it took, and why it failed if it did. */
export type ChoreRun = z.output<typeof choreRunSchema>;

export async function noteChore(redis: Redis, keys: Keys, chore: string, run: ChoreRun): Promise<void> {
  await redis.hset(keys.chores, chore, JSON.stringify(run));
}

/** By name of the chore. */
export async function choreRuns(redis: Redis, keys: Keys): Promise<Map<string, ChoreRun>> {
  const stored = await redis.hgetall(keys.chores);
  return new Map(
    Object.entries(stored).map(([chore, run]) => [chore, choreRunSchema.parse(JSON.parse(run))]),
  );
}
