import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import type { RangeJob } from '../schema/job.ts';
import { readTogether } from './read-together.ts';

/** What must have settled first: every chunk with a stamp below `chunks`, every range delete with one below `ranges`. */
export interface Barrier {
  readonly chunks: Stamp;
  readonly ranges: Stamp;
}

/** The oldest chunk and the oldest range delete that have not settled; Infinity for none. */
export interface Frontier extends Barrier {
  /** The settle as of which it is: `nextSettle` waits for one after it. */
  readonly settle: string;
}

export function isPassed(barrier: Barrier, frontier: Barrier): boolean {
  return frontier.chunks >= barrier.chunks && frontier.ranges >= barrier.ranges;
}

/** So many range deletes in a row are looked past for the oldest chunk; beyond, the frontier stands at the last of them. */
const LOOKED_AT = 16;

const pairs = z.array(z.string());
const frontierReply = z.tuple([pairs, pairs, z.array(z.tuple([z.string(), z.unknown()]))]);

export async function readFrontier(redis: Redis, keys: Keys): Promise<Frontier> {
  const last = String(LOOKED_AT - 1);
  const [inflight, ranges, settles] = frontierReply.parse(
    await readTogether(
      redis,
      [keys.inflight, keys.ranges, keys.settles],
      [
        ['ZRANGE', keys.inflight, '0', last, 'WITHSCORES'],
        ['ZRANGE', keys.ranges, '0', last, 'WITHSCORES'],
        ['XREVRANGE', keys.settles, '+', '-', 'COUNT', '1'],
      ],
    ),
  );
  let at = 0;
  while (at < inflight.length - 2 && inflight[at] === ranges[at]) at += 2;
  const isChunk = inflight[at] !== ranges[at];
  const beyond = inflight.length === 2 * LOOKED_AT;
  return {
    chunks: isChunk || beyond ? stampAt(inflight, at + 1) : Number.POSITIVE_INFINITY,
    ranges: stampAt(ranges, 1),
    settle: settles[0]?.[0] ?? '0-0',
  };
}

function stampAt(reply: readonly string[], place: number): Stamp {
  const stamp = reply[place];
  return stamp === undefined ? Number.POSITIVE_INFINITY : Number(stamp);
}

/** Resolves when something settles after `settle`, or after `blockMs`. @param redis a connection that nobody else uses */
export async function nextSettle(redis: Redis, keys: Keys, settle: string, blockMs: number): Promise<void> {
  await redis.call('XREAD', 'COUNT', 1, 'BLOCK', blockMs, 'STREAMS', keys.settles, settle);
}

/** A range delete that has not settled. */
export type OpenRange = Pick<RangeJob, 'kind' | 'value' | 'stamp'>;

export interface NotedChunk {
  readonly chunkId: string;
  readonly first: Stamp;
}

export interface EarlierWork {
  readonly ranges: readonly OpenRange[];
  /** Of each chunk that asks: how many chunks with lower stamps have not settled. */
  readonly chunksBefore: readonly number[];
  /** Of each of these chunks: its stamp in flight; null when it is not noted there. */
  readonly placed: readonly (Stamp | null)[];
}

const stampOrNone = z.coerce.number().nullable();
const coverSchema = z.tuple([z.number(), z.tuple([z.enum(['prefix', 'state']), z.string()])]);
const earlierReply = z.tuple([z.array(z.string()), z.array(stampOrNone)]).rest(z.number());

/** What is in flight as the chunks of `asking` see it, and where `chunks` stand in it. One round trip. */
export async function earlierWork(
  redis: Redis,
  keys: Keys,
  asking: readonly NotedChunk[],
  chunks: readonly NotedChunk[],
): Promise<EarlierWork> {
  const counts = asking.flatMap(({ first }) => [below(keys.inflight, first), below(keys.ranges, first)]);
  const [covers, placed, ...counted] = earlierReply.parse(
    await readTogether(
      redis,
      [keys.covers, keys.inflight, keys.ranges],
      [
        ['HVALS', keys.covers],
        ['ZMSCORE', keys.inflight, ...chunks.map(({ chunkId }) => chunkId)],
        ...counts,
      ],
    ),
  );
  return {
    ranges: covers.map((cover) => {
      const [stamp, [kind, value]] = coverSchema.parse(JSON.parse(cover));
      return { stamp, kind, value };
    }),
    placed,
    chunksBefore: asking.map((_, i) => (counted[2 * i] ?? 0) - (counted[2 * i + 1] ?? 0)),
  };
}

const othersReply = z.tuple([z.array(stampOrNone)]).rest(z.number());

/**
 * Of each range delete, in the order of their stamps: how many others with lower stamps have not settled, those before it in
 * `jobs` left out.
 */
export async function othersBefore(redis: Redis, keys: Keys, jobs: readonly NotedChunk[]): Promise<number[]> {
  if (jobs.length === 0) return [];
  const [placed, ...before] = othersReply.parse(
    await readTogether(
      redis,
      [keys.inflight],
      [
        ['ZMSCORE', keys.inflight, ...jobs.map(({ chunkId }) => chunkId)],
        ...jobs.map(({ first }) => below(keys.inflight, first)),
      ],
    ),
  );
  let known = 0;
  return before.map((count, i) => {
    const others = count - known;
    if (placed[i] !== null) known++;
    return others;
  });
}

function below(key: string, stamp: Stamp): string[] {
  return ['ZCOUNT', key, '-inf', `(${stamp}`];
}
