import { PartitionsError } from '../errors.ts';
import { type Keys, MAINTENANCE_QUEUE, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { isPartitionCount, Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { setPartitions } from '../postgres/deployment.ts';
import type { Shards } from '../postgres/shards.ts';
import { highestStamp } from '../postgres/totals.ts';
import { readBacklog } from '../redis/backlog.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { raiseClock } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import {
  dropLane,
  highestGiven,
  markPartitions,
  partitionsInRedis,
  setMarks,
  UNKNOWN_PARTITIONS,
} from '../redis/partitions.ts';
import { withPartitions } from '../shard-map.ts';

export interface RaiseParts {
  readonly shards: Shards;
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  readonly namespace: string;
  readonly log: Logger;
}

/**
 * Raises the number of partitions, of a deployment in which nothing runs and nothing is in flight. The rows stay as they are:
 * each partition is split in two. The lanes in Redis are other ones, and their clocks go on above all stamps that were given.
 *
 * While it works no lane gives stamps. After a crash, run it again: it ends what was begun.
 * @returns how many there were
 * @throws PartitionsError that says what is in flight, or why the number cannot be
 */
export async function raisePartitions(parts: RaiseParts, count: number): Promise<number> {
  const { shards, queue, namespace } = parts;
  const { row: stored } = await shards.learnUneven();
  if (!isPartitionCount(count) || count < stored.partitions) {
    throw new PartitionsError(
      `There are ${stored.partitions} partitions. They can be raised to a higher power of two, 256 at most.`,
    );
  }
  const { map } = shards;
  if (map?.move !== undefined) {
    throw new PartitionsError(
      `Partition ${map.move.partition} is being moved to shard ${map.move.to}. Let \`tierline partitions move\` end that first.`,
    );
  }
  const to = new Lanes(namespace, count);
  const before = (await partitionsInRedis(queue, to.home)) ?? stored.partitions;
  const from = new Lanes(namespace, before);
  await refuseUnlessQuiet(parts, from);
  await setMarks(queue, from, UNKNOWN_PARTITIONS);
  try {
    // What got its stamps before is seen now, and nothing gets any more.
    await refuseUnlessQuiet(parts, from);
  } catch (error) {
    await setMarks(queue, from, before);
    throw error;
  }
  const raised = map && withPartitions(map, count);
  await shards.each(({ pool }) => setPartitions(pool, count, raised));
  const stamps = await shards.each(({ pool }) => highestStamp(pool));
  const above = Math.max(1, await highestGiven(queue, from), ...stamps);
  for (const keys of to.keys) await raiseClock(queue, keys, above);
  await setMarks(queue, to, count);
  if (before === 1 && count > 1) await dropLane(queue, from.home);
  await markPartitions(queue, to, stored.id);
  return before;
}

async function refuseUnlessQuiet({ queue, log }: RaiseParts, lanes: Lanes): Promise<void> {
  const { pendingItems, chunksInFlight } = await readBacklog(queue, lanes);
  const [writes, ranges] = await Promise.all([
    figuresOf(queue, lanes.keys, WRITES_QUEUE, log),
    figuresOf(queue, lanes.keys, RANGES_QUEUE, log),
  ]);
  const chores = await figuresOf(queue, [lanes.home], MAINTENANCE_QUEUE, log);
  const found = [
    [pendingItems, 'unsettled items'],
    [chunksInFlight, 'chunks and range deletes in flight'],
    [writes.jobs + ranges.jobs, 'jobs in the queues'],
    [writes.workers, 'drain workers connected'],
    [chores.workers, 'maintenance processes connected'],
  ] as const;
  const busy = found.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  if (busy.length === 0) return;
  throw new PartitionsError(
    `The deployment is not quiet: ${busy.join(', ')}. Stop what writes, wait until everything has settled (\`tierline status\`), stop all other processes too, and run this again.`,
  );
}

async function figuresOf(
  redis: Redis,
  lanes: readonly Keys[],
  name: string,
  log: Logger,
): Promise<{ jobs: number; workers: number }> {
  let jobs = 0;
  let workers = 0;
  for (const keys of lanes) {
    const queue = openQueue(name, redis, keys, log);
    try {
      const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'failed');
      jobs += Object.values(counts).reduce((sum, count) => sum + count, 0);
      workers = Math.max(workers, await queue.getWorkersCount());
    } finally {
      await queue.close();
    }
  }
  return { jobs, workers };
}
