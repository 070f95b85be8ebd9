import { z } from 'zod';
import { MAX_CHUNK_ITEMS, type Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import {
  type ChunkOutcome,
  decodeOutcome,
  encodeFeedJobs,
  encodeOutcome,
  type FeedChanges,
  type FeedJob,
  isAllApplied,
} from '../schema/feed.ts';
import type { RangeJob } from '../schema/job.ts';
import type { Redis } from './client.ts';
import { readTogether, Script } from './commands.ts';

const settleScript = new Script('settle');

const settleReply = z.tuple([z.string(), z.number()]);

/** How long outcomes are kept for producers that missed entries of the feed. */
const OUTCOME_TTL_MS = 3_600_000;

export interface Settlement {
  readonly jobs: readonly FeedJob[];
  readonly changes: FeedChanges;
  /** The newest stamp of each id in the batch. */
  readonly newest: Iterable<readonly [id: string, stamp: Stamp]>;
  /** Generation in which the copies of the batch were written; undefined when it has none. */
  readonly generation?: string | undefined;
}

export interface Settled {
  readonly entryId: string;
  /** When the entry was written, in milliseconds by the clock of Redis. */
  readonly atMs: number;
  /** False after Redis lost its data, until `raiseClock`. */
  readonly clockRaised: boolean;
}

/**
 * Announces a batch on the feed and clears its in-flight and pending notes, in one step.
 * @returns undefined, and nothing is done, when readers use another generation of copies than the batch wrote
 */
export async function settleBatch(
  redis: Redis,
  keys: Keys,
  batch: Settlement,
  feedMaxEntries: number,
): Promise<Settled | undefined> {
  const notable = batch.jobs.filter(({ outcome }) => !isAllApplied(outcome));
  const ids: string[] = [];
  const stamps: Stamp[] = [];
  for (const [id, stamp] of batch.newest) {
    ids.push(id);
    stamps.push(stamp);
  }
  const args: (string | number)[] = [
    feedMaxEntries,
    encodeFeedJobs(batch.jobs),
    JSON.stringify(batch.changes),
    OUTCOME_TTL_MS,
    batch.jobs.length,
    notable.length,
    batch.generation ?? '',
    ...batch.jobs.map(({ chunkId }) => chunkId),
    ...notable.map(({ outcome }) => encodeOutcome(outcome)),
    JSON.stringify([ids, stamps]),
  ];
  const outcomeKeys = notable.map(({ chunkId }) => keys.outcome(chunkId));
  const [entryId, raised] = settleReply.parse(
    await settleScript.run(
      redis,
      [
        keys.feed,
        keys.inflight,
        keys.pending,
        keys.clock,
        keys.ranges,
        keys.cache,
        keys.bytes,
        keys.covers,
        keys.settles,
        ...outcomeKeys,
      ],
      args,
    ),
  );
  if (entryId === '') return undefined;
  // The id of a stream entry begins with the server's time.
  return { entryId, atMs: Number.parseInt(entryId, 10), clockRaised: raised === 1 };
}

/** The newest unsettled stamp of each id; undefined when no write of it is pending. */
export async function pendingStamps(
  redis: Redis,
  keys: Keys,
  ids: readonly string[],
): Promise<(Stamp | undefined)[]> {
  const stamps = await redis.hmget(keys.pending, ...ids);
  return stamps.map((stamp) => (stamp === null ? undefined : Number(stamp)));
}

/**
 * The first stamp of the oldest chunk in flight, below which every write has settled. Infinity when no chunk is in flight.
 */
export async function settledBelow(redis: Redis, keys: Keys): Promise<Stamp> {
  const [, stamp] = await redis.zrange(keys.inflight, '0', '0', 'WITHSCORES');
  return stamp === undefined ? Number.POSITIVE_INFINITY : Number(stamp);
}

export type ChunkState =
  | { readonly state: 'inflight' }
  /** With an outcome it has settled. Without one every operation was applied, or Redis lost its newest data and the chunk. */
  | { readonly state: 'gone'; readonly outcome: ChunkOutcome | undefined }
  | { readonly state: 'lost' };

/**
 * What became of chunks, without the feed: settling clears `inflight` and stores the outcome in one step.
 * `lost` when Redis is no longer of the epoch in which the chunk was queued. `entries`: number of the newest feed entry then.
 */
export async function chunkStates(
  redis: Redis,
  keys: Keys,
  epoch: string,
  chunkIds: readonly string[],
): Promise<{ readonly states: ChunkState[]; readonly entries: number }> {
  // In one step: between two reads a chunk could settle, or Redis be emptied.
  const outcomeKeys = chunkIds.map((id) => keys.outcome(id));
  const replies = await readTogether(
    redis,
    [keys.clock, keys.inflight, ...outcomeKeys],
    [
      ['HMGET', keys.clock, 'epoch', 'entries'],
      ['ZMSCORE', keys.inflight, ...chunkIds],
      ['MGET', ...outcomeKeys],
    ],
  );
  const [[current, entries], scores, outcomes] = z
    .tuple([
      z.tuple([z.string().nullable(), z.string().nullable()]),
      z.array(z.unknown()),
      z.array(z.string().nullable()),
    ])
    .parse(replies);
  const states = chunkIds.map((_, i): ChunkState => {
    if (current !== epoch) return { state: 'lost' };
    if (scores[i] !== null && scores[i] !== undefined) return { state: 'inflight' };
    const stored = outcomes[i];
    return { state: 'gone', outcome: stored == null ? undefined : decodeOutcome(stored) };
  });
  return { states, entries: Number(entries ?? 0) };
}

/** How many range deletes have not settled. */
export async function rangesInFlight(redis: Redis, keys: Keys): Promise<number> {
  return redis.zcard(keys.ranges);
}

/** A version of an id that was seen in Postgres. */
export interface SeenVersion {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
}

export interface SettledAnswer {
  /** Every write with a stamp below it has settled; 0 when Redis has given out no stamp. */
  readonly horizon: Stamp;
  /** Whether each version has settled, in the order of the question. */
  readonly settled: readonly boolean[];
}

const reply = z.tuple([
  z.coerce.number().nullable(),
  z.array(z.string()),
  z.array(z.string().nullable()).optional(),
]);
const countsReply = z.array(z.int());

/**
 * Which of these versions have settled: every tier has them, and the feed has announced them.
 *
 * A version that Postgres shows was queued before. Until it settles, its chunk is in `inflight` and its id in `pending`. So it
 * has settled when its stamps are below the oldest chunk in flight, or when its id is not pending and no chunk in flight can have given
 * its stamps. Not pending alone is not enough: a later write of the id that settles first takes the note of both away.
 * @param redis of the queue. One round trip, about 1 µs of Redis a version; another one for versions that an older chunk keeps
 *   above the horizon.
 */
export async function settledCheck(
  redis: Redis,
  keys: Keys,
  seen: readonly SeenVersion[],
): Promise<SettledAnswer> {
  const replies = await readTogether(
    redis,
    [keys.clock, keys.inflight, keys.pending],
    [
      ['HGET', keys.clock, 'last'],
      ['ZRANGE', keys.inflight, '0', '0', 'WITHSCORES'],
      ...(seen.length > 0 ? [['HMGET', keys.pending, ...seen.map(({ id }) => id)]] : []),
    ],
  );
  const [last, [, oldest], pending = []] = reply.parse(replies);
  // The next stamp is above the last one.
  const horizon = oldest === undefined ? (last === null ? 0 : last + 1) : Number(oldest);
  const open = seen.map(({ contentVersion, stateVersion }) =>
    [contentVersion, stateVersion].filter((stamp) => stamp >= horizon),
  );
  const asked = open.filter((stamps, i) => stamps.length > 0 && pending[i] === null).flat();
  const inFlight = await stampsInFlight(redis, keys, asked);
  const settled = open.map(
    (stamps, i) =>
      stamps.length === 0 || (pending[i] === null && !stamps.some((stamp) => inFlight.has(stamp))),
  );
  return { horizon, settled };
}

/** Those of the stamps that a chunk in flight, or a range delete, may have given. */
async function stampsInFlight(redis: Redis, keys: Keys, stamps: readonly Stamp[]): Promise<Set<Stamp>> {
  if (stamps.length === 0) return new Set();
  // The stamps of a chunk follow its first one.
  const counts = stamps.map((stamp) => ['ZCOUNT', keys.inflight, `(${stamp - MAX_CHUNK_ITEMS}`, `${stamp}`]);
  const found = countsReply.parse(await readTogether(redis, [keys.inflight], counts));
  return new Set(stamps.filter((_, i) => found[i] !== 0));
}

/** Is passed when every chunk with a stamp below `chunks` and every range delete with one below `ranges` has settled. */
export interface Barrier {
  readonly chunks: Stamp;
  readonly ranges: Stamp;
}

/** The oldest chunk and the oldest range delete that have not settled; Infinity for none. */
export interface Frontier extends Barrier {
  /** The newest settle when it was read. `nextSettle` waits for one after it. */
  readonly settle: string;
}

export function isPassed(barrier: Barrier, frontier: Barrier): boolean {
  return frontier.chunks >= barrier.chunks && frontier.ranges >= barrier.ranges;
}

/** To find the oldest chunk, at most so many older range deletes are skipped; after that the last of them stands for it. */
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
  /** For each chunk of `asking`: how many chunks with lower stamps have not settled. */
  readonly chunksBefore: readonly number[];
  /** For each of `chunks`: its stamp in flight, or null when it is not in flight. */
  readonly placed: readonly (Stamp | null)[];
}

const stampOrNone = z.coerce.number().nullable();
const coverSchema = z.tuple([z.number(), z.tuple([z.enum(['prefix', 'state']), z.string()])]);
const earlierReply = z.tuple([z.array(z.string()), z.array(stampOrNone)]).rest(z.number());

/** What is in flight before the chunks of `asking`, and whether `chunks` are in flight. One round trip. */
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
 * For each range delete, in the order of their stamps: how many chunks and range deletes with lower stamps have not settled,
 * not counting those before it in `jobs`.
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
