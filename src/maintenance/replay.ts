import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import { z } from 'zod';
import { pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import { type Keys, WRITES_QUEUE } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import {
  areAllApplied,
  type DeadLetterWithPayload,
  deleteLetters,
  findLetter,
  lettersOfChunk,
} from '../postgres/dead-letters.ts';
import { rangeCover } from '../postgres/range-deletes.ts';
import type { Shards } from '../postgres/shards.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { forgetReplay, noteReplay } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import { chunkStates } from '../redis/in-flight.ts';
import { EXCEPTION_STATUSES } from '../schema/feed.ts';
import {
  CHUNK_JOB,
  type ChunkJob,
  type DeadPayload,
  deadPayloadSchema,
  replayChunkId,
  toChunkJob,
  toMovedJob,
  WRITE_JOB_OPTIONS,
} from '../schema/job.ts';

/**
 * What replaying dead letters needs. An operation goes back into the queue with its old stamp, so it never undoes a newer write
 * (I4). Its dead letter is removed once it has settled. A crash in between leaves the letter, and replaying it again changes
 * nothing (I2). The operations of an atomic call are replayed together.
 */
export interface ReplayParts {
  readonly shards: Shards;
  /** A `failFast` connection to the queue's Redis. */
  readonly redis: Redis;
  /** The writes queues, by partition. */
  readonly writes: readonly Pick<Queue, 'add'>[];
  readonly lanes: Lanes;
  readonly config: Pick<Config, 'purgeAfterMs'>;
}

/** A replay that has not settled. It is plain JSON, so that a job can keep it from one step to the next. */
export interface RunningReplay {
  readonly chunkId: string;
  readonly partition: number;
  readonly epoch: string;
  readonly seqs: readonly number[];
}

/**
 * `replayed`: the write is stored and the letter removed. `superseded`: a newer write had won; the letter is removed.
 * `missing`: a setState found no item; the letter is removed. `dead`: it was refused again; the letter stays. `refused`: it
 * cannot be replayed; the letter stays. `gone`: there is no such letter. `lost`: Redis lost the queue meanwhile; replay it
 * again. `busy`: a range delete is running; try again when it has settled.
 */
export const replayOutcomeSchema = z.object({
  status: z.enum(['replayed', ...EXCEPTION_STATUSES, 'refused', 'gone', 'lost', 'busy']),
  letters: z.int(),
  reason: z.string().optional(),
});
export type ReplayOutcome = Readonly<z.output<typeof replayOutcomeSchema>>;

/** Puts one letter, or all letters of an atomic call, back into the queue, or tells why not. */
export async function startReplay(parts: ReplayParts, seq: number): Promise<RunningReplay | ReplayOutcome> {
  const { shards, redis, writes, lanes, config } = parts;
  const letter = await findLetter(shards, seq);
  if (letter === undefined) return { status: 'gone', letters: 0 };
  const group = await groupOf(shards, letter);
  if (typeof group === 'string') return { status: 'refused', letters: 1, reason: group };
  const { operations, seqs } = group;

  // Tombstones of that time may have been purged: a replay could bring back what was deleted since (I4).
  const horizon = (Date.now() - 0.9 * config.purgeAfterMs) * 1000;
  if (letter.stamp < horizon) {
    const reason =
      'older than the purge horizon: submit the item again as a new write, then purge the letter';
    return { status: 'refused', letters: seqs.length, reason };
  }

  const partition = lanes.of(letter.itemId);
  if (operations.some(({ id }) => lanes.of(id) !== partition)) {
    const reason =
      'its atomic call has ids of several partitions: submit the items again, then purge the letters';
    return { status: 'refused', letters: seqs.length, reason };
  }
  const keys = lanes.keys[partition] as Keys;
  const chunkId = replayChunkId(randomUUID());
  const epoch = await noteReplay(redis, keys, chunkId, operations);
  if (epoch === undefined)
    return { status: 'busy', letters: seqs.length, reason: 'a range delete is at work' };
  try {
    // Look after the note: a range delete that settled before it is in the table, and a later one waits for the note.
    const covers = await Promise.all(
      operations.map(async ({ id, stamp, state, kind }) => {
        const cover = await shards.rowsOf(partition).read((db) => rangeCover(db, id, stamp, state));
        // A delete brings no item back, so it may always be replayed.
        return cover === 'hidden' && kind === 'delete' ? 'free' : cover;
      }),
    );
    if (covers.every((cover) => cover === 'covered')) {
      await forgetReplay(redis, keys, chunkId, operations);
      await deleteLetters(shards, seqs);
      return { status: 'superseded', letters: seqs.length, reason: 'a later range delete covers it' };
    }
    if (covers.some((cover) => cover !== 'free')) {
      await forgetReplay(redis, keys, chunkId, operations);
      const reason = covers.includes('covered')
        ? 'a later range delete covers part of the atomic call'
        : 'a later deleteByState may have covered it, and a newer state hides whether it did: submit the item again as a new write, then purge the letter';
      return { status: 'refused', letters: seqs.length, reason };
    }
  } catch (error) {
    await forgetReplay(redis, keys, chunkId, operations).catch(() => undefined);
    throw error;
  }
  // When this fails, the job may be there all the same. The note stays, and is swept if there is no job.
  const job = jobOf(operations);
  await writes[partition]?.add(CHUNK_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: chunkId });
  return { chunkId, partition, epoch, seqs };
}

/** What became of a replay; undefined while it has not settled. Removes its letters unless it failed. */
export async function finishReplay(
  { shards, redis, lanes }: ReplayParts,
  { chunkId, partition, epoch, seqs }: RunningReplay,
): Promise<ReplayOutcome | undefined> {
  const {
    states: [fate],
  } = await chunkStates(redis, lanes.keys[partition] as Keys, epoch, [chunkId]);
  if (fate === undefined || fate.state === 'inflight') return undefined;
  const { outcome } = fate.state === 'lost' ? {} : fate;
  // A Redis that lost only its newest data looks as if the chunk had settled: the rows tell.
  if (fate.state === 'lost' || (outcome === undefined && !(await areAllApplied(shards, seqs)))) {
    return { status: 'lost', letters: seqs.length, reason: 'Redis lost its data meanwhile; replay it again' };
  }
  const { exceptions = [], refused } = outcome ?? {};
  const dead = exceptions.find(({ status }) => status === 'dead');
  if (dead !== undefined || refused !== undefined) {
    return { status: 'dead', letters: seqs.length, reason: refused ?? dead?.reason };
  }
  await deleteLetters(shards, seqs);
  const status = EXCEPTION_STATUSES.find((one) => exceptions.some((exception) => exception.status === one));
  return { status: status ?? 'replayed', letters: seqs.length };
}

export function isRunning(replay: RunningReplay | ReplayOutcome): replay is RunningReplay {
  return 'chunkId' in replay;
}

const POLL_MS = 50;

/** Replays one letter and waits for its outcome. A drain worker must be running. */
export async function replayLetter(
  parts: ReplayParts,
  seq: number,
  signal?: AbortSignal,
): Promise<ReplayOutcome> {
  const replay = await startReplay(parts, seq);
  if (!isRunning(replay)) return replay;
  for (;;) {
    signal?.throwIfAborted();
    const outcome = await finishReplay(parts, replay);
    if (outcome !== undefined) return outcome;
    await pause(POLL_MS, { signal });
  }
}

/** The operations to replay with a letter, or why it cannot be. */
async function groupOf(
  shards: Shards,
  letter: DeadLetterWithPayload,
): Promise<{ operations: readonly DeadPayload[]; seqs: readonly number[] } | string> {
  const own = parsePayload(letter);
  if (own === undefined) return 'its payload is not an operation of Tierline';
  if (!own.atomic) return { operations: [own], seqs: [letter.seq] };
  const letters = await lettersOfChunk(shards, letter.chunkId);
  const operations = letters.map(parsePayload).filter((operation) => operation !== undefined);
  // Of an older letter nobody knows how the call began and ended, so only gaps are found.
  const { first, count } = own.whole ?? { first: operations[0]?.stamp ?? 0, count: letters.length };
  if (operations.length < count || operations.some(({ stamp }, i) => stamp !== first + i)) {
    return 'letters of its atomic call are missing, so it cannot be applied as a whole';
  }
  return { operations, seqs: letters.map(({ seq }) => seq) };
}

function jobOf(operations: readonly DeadPayload[]): ChunkJob {
  const [first] = operations;
  if (first !== undefined && first.stateStamp !== null) {
    return toMovedJob(operations.map((one) => ({ ...one, stateStamp: one.stateStamp ?? 0 })));
  }
  return toChunkJob(
    first?.stamp ?? 0,
    operations,
    operations.some(({ atomic }) => atomic),
  );
}

function parsePayload({ payload }: DeadLetterWithPayload): DeadPayload | undefined {
  try {
    return deadPayloadSchema.safeParse(JSON.parse(payload)).data;
  } catch {
    return undefined;
  }
}

/** What replaying needs, on the caller's connections. */
export interface OpenReplay {
  readonly parts: ReplayParts;
  /** Leaves the connections open. */
  close(): Promise<void>;
}

/** @param redis a `failFast` connection that is ready. */
export function openReplay(
  shards: Shards,
  redis: Redis,
  lanes: Lanes,
  config: Config,
  log: Logger,
): OpenReplay {
  const writes = lanes.keys.map((keys) => openQueue(WRITES_QUEUE, redis, keys, log));
  return {
    parts: { shards, redis, writes, lanes, config },
    close: async () => {
      await Promise.all(writes.map((queue) => queue.close()));
    },
  };
}
