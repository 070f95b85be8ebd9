import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import { PartitionsError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Redis } from './client.ts';
import { Script } from './commands.ts';

const markScript = new Script('mark');
const markReply = z.array(z.string());
const countOrNone = z.coerce.number().nullable();

/** How many partitions the deployment has, as Redis knows it; undefined when Redis lost its data, or never knew. */
export async function partitionsInRedis(redis: Redis, { deployment }: Keys): Promise<number | undefined> {
  return countOrNone.parse(await redis.hget(deployment, 'partitions')) ?? undefined;
}

/**
 * Writes into Redis how many partitions there are, also into the clock of each lane, where the script that gives stamps compares
 * it. With several partitions the clock that a single one would have is marked, too: a producer that knows of one partition
 * then gets no stamps there.
 * @throws PartitionsError when Redis knows another number; nothing of that is changed
 */
export async function markPartitions(redis: Redis, lanes: Lanes, deploymentId: string): Promise<void> {
  const { home, count } = lanes;
  const mark = async (key: string, ...fields: (string | number)[]) =>
    markReply.parse(await markScript.run(redis, [key], fields));
  const [, known] = await mark(home.deployment, 'id', deploymentId, 'partitions', count);
  const clocks = new Set([home.clock, ...lanes.keys.map(({ clock }) => clock)]);
  const marks = await Promise.all(Array.from(clocks, (clock) => mark(clock, 'partitions', count)));
  for (const found of [known, ...marks.flat()]) {
    if (Number(found) !== count) throw differing(Number(found), count);
  }
}

/** Whether every lane is marked. After Redis has lost its data none is. @throws as `markPartitions` */
export async function areMarked(redis: Redis, { home, keys, count }: Lanes): Promise<boolean> {
  const marked = new Set([home.deployment, home.clock, ...keys.map((lane) => lane.clock)]);
  // No pipeline: on a cluster the lanes lie in several slots.
  const marks = z
    .array(countOrNone)
    .parse(await Promise.all(Array.from(marked, (key) => redis.hget(key, 'partitions'))));
  const other = marks.find((mark) => mark !== null && mark !== count);
  if (other != null) throw differing(other, count);
  return marks.every((mark) => mark !== null);
}

function differing(inRedis: number, inPostgres: number): PartitionsError {
  return new PartitionsError(
    `Redis knows ${inRedis} partitions and Postgres ${inPostgres}. Either REDIS_URL, TIERLINE_NAMESPACE and DATABASE_URL are not of one deployment, or raising the number was not finished: then run \`tierline partitions raise ${Math.max(inRedis, inPostgres)}\`.`,
  );
}

/** In the place of the number: no stamps are given until it is known again. */
export const UNKNOWN_PARTITIONS = 0;

/** Overwrites the marks of all lanes, and last what Redis says of the deployment. */
export async function setMarks(redis: Redis, { home, keys }: Lanes, count: number): Promise<void> {
  await Promise.all([home, ...keys].map(({ clock }) => redis.hset(clock, 'partitions', count)));
  if (count !== UNKNOWN_PARTITIONS) await redis.hset(home.deployment, 'partitions', count);
}

/** The highest stamp that any lane has given; 0 for none. */
export async function highestGiven(redis: Redis, { keys }: Lanes): Promise<Stamp> {
  const stamps = await Promise.all(keys.map(({ clock }) => redis.hget(clock, 'last')));
  return Math.max(...stamps.map(Number));
}

/** Drops what a quiet lane leaves behind that is none any more. Its clock stays: it refuses stamps. */
export async function dropLane(redis: Redis, keys: Keys): Promise<void> {
  const { feed, settles, pending, inflight, ranges, covers, swept, bytes } = keys;
  await redis.unlink(feed, settles, pending, inflight, ranges, covers, swept, bytes);
}

/** The partitions that a process goes by. @throws PartitionsError when it is configured for another number */
export function agreedPartitions(configured: number | undefined, stored: number): number {
  if (configured === undefined || configured === stored) return stored;
  throw new PartitionsError(
    `TIERLINE_PARTITIONS is ${configured}, and the deployment has ${stored} partitions. Leave it out or set it to ${stored}; \`tierline partitions raise\` changes the number.`,
  );
}
