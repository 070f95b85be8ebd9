import { DelayedError, type Job, type Queue } from 'bullmq';
import { z } from 'zod';
import { VERIFY_STEPS, verifyStep } from '../postgres/merkle-verify.ts';
import type { Shard } from '../postgres/shards.ts';
import { type CopyTurn, copyTurnSchema } from '../redis/copies.ts';
import { COMPARE_JOB, type ComparePeer, type CompareResult, KEPT_JOBS, runCompare } from './compare-job.ts';
import type { CopySweep } from './copy-sweep.ts';
import { finishReplay, isRunning, type ReplayOutcome, type ReplayParts, startReplay } from './replay.ts';

/** Jobs of the maintenance queue that people ask for; the recurring chores have other names. */
export const VERIFY_JOB = 'verify';
export const REPLAY_JOB = 'replay';
export const SWEEP_COPIES_JOB = 'sweep-copies';

const differenceSchema = z.object({
  kind: z.enum(['leaf', 'path', 'parent', 'delta']),
  node: z.string(),
  rows: z.number(),
  tree: z.number(),
});

const verifyDataSchema = z.object({
  /** Steps done. */
  step: z.int().min(0).default(0),
  rows: z.number().default(0),
  differences: z.array(differenceSchema).default([]),
  startedMs: z.number().optional(),
});

export const verifyResultSchema = z.object({
  ok: z.boolean(),
  /** Rows compared. */
  rows: z.number(),
  /** The first hundred. */
  differences: z.array(differenceSchema),
  /** From the first step to the last. */
  ms: z.number(),
});
export type VerifyResult = z.output<typeof verifyResultSchema>;

export const verifyProgressSchema = z.object({ done: z.int(), of: z.int(), rows: z.number() });

const replayDataSchema = z.object({
  seq: z.int().min(1),
  running: z
    .object({ chunkId: z.string(), partition: z.int().default(0), epoch: z.string(), seqs: z.array(z.int()) })
    .optional(),
});

const sweepDataSchema = z.object({ turn: z.int().min(1).optional() });
export const sweepResultSchema = copyTurnSchema;

const MAX_DIFFERENCES = 100;

/** Asks for a comparison of the tree with the stored digests of the rows, unless one is under way. Returns the id of its job. */
export async function requestVerify(maintenance: Queue): Promise<string> {
  const job = await maintenance.add(VERIFY_JOB, {}, { ...KEPT_JOBS, deduplication: { id: VERIFY_JOB } });
  return job.id ?? '';
}

/** Asks for the replay of one dead letter, unless it is under way. Returns the id of its job. */
export async function requestReplay(maintenance: Queue, seq: number): Promise<string> {
  const job = await maintenance.add(
    REPLAY_JOB,
    { seq },
    { ...KEPT_JOBS, deduplication: { id: `${REPLAY_JOB}-${seq}` } },
  );
  return job.id ?? '';
}

/** Asks for a comparison of every L2 copy with its row, unless one that was asked for is under way. Returns the id of its job. */
export async function requestCopySweep(maintenance: Queue): Promise<string> {
  const job = await maintenance.add(
    SWEEP_COPIES_JOB,
    {},
    { ...KEPT_JOBS, deduplication: { id: SWEEP_COPIES_JOB } },
  );
  return job.id ?? '';
}

/** What the jobs that people ask for need. */
export interface OnDemandParts extends ReplayParts {
  readonly copies: CopySweep;
  readonly comparePeer: ComparePeer;
}

/** Pause between two looks at a replay that has not settled. */
const REPLAY_LOOK_MS = 100;

/**
 * Runs one step of a job and puts the job back behind the others. The queue does one thing at a time, so a long verification,
 * or a replay that waits for drain workers, would otherwise delay the chores. The job's data holds what is done so far, so a
 * crash repeats only one step.
 */
export async function runOnDemand(
  job: Job,
  token: string | undefined,
  parts: OnDemandParts,
): Promise<VerifyResult | ReplayOutcome | CopyTurn | CompareResult | undefined> {
  if (job.name === VERIFY_JOB) return verify(job, token, parts);
  if (job.name === REPLAY_JOB) return replay(job, token, parts);
  if (job.name === SWEEP_COPIES_JOB) return sweepCopies(job, token, parts);
  // One step: it has limits of its own.
  if (job.name === COMPARE_JOB) return runCompare(job.data, parts.comparePeer);
  return undefined;
}

async function verify(job: Job, token: string | undefined, { shards }: ReplayParts): Promise<VerifyResult> {
  const before = verifyDataSchema.parse(job.data);
  const startedMs = before.startedMs ?? Date.now();
  // One shard after the other.
  const shard = shards.all[Math.floor(before.step / VERIFY_STEPS)] as Shard;
  const { rows, differences } = await shards.named(shard, () =>
    verifyStep(shard.pool, before.step % VERIFY_STEPS),
  );
  const steps = VERIFY_STEPS * shards.all.length;
  const now = {
    step: before.step + 1,
    rows: before.rows + rows,
    differences: [...before.differences, ...differences].slice(0, MAX_DIFFERENCES),
    startedMs,
  };
  await job.updateProgress({ done: now.step, of: steps, rows: now.rows });
  if (now.step < steps) {
    await job.updateData(now);
    await putBack(job, token, 0);
  }
  return {
    ok: now.differences.length === 0,
    rows: now.rows,
    differences: now.differences,
    ms: Date.now() - startedMs,
  };
}

async function replay(job: Job, token: string | undefined, parts: ReplayParts): Promise<ReplayOutcome> {
  const { seq, running } = replayDataSchema.parse(job.data);
  if (running !== undefined) {
    const outcome = await finishReplay(parts, running);
    if (outcome !== undefined) return outcome;
    return putBack(job, token, REPLAY_LOOK_MS);
  }
  const started = await startReplay(parts, seq);
  if (!isRunning(started) && started.status !== 'busy') return started;
  if (isRunning(started)) await job.updateData({ seq, running: started });
  return putBack(job, token, REPLAY_LOOK_MS);
}

/** The job's data holds the number of the turn, so a repeated step continues the same turn. */
async function sweepCopies(
  job: Job,
  token: string | undefined,
  { copies }: OnDemandParts,
): Promise<CopyTurn> {
  let { turn } = sweepDataSchema.parse(job.data);
  if (turn === undefined) {
    turn = await copies.begin();
    await job.updateData({ turn });
  }
  const done = await copies.hurry(turn);
  return 'restMs' in done ? putBack(job, token, done.restMs) : done;
}

async function putBack(job: Job, token: string | undefined, delayMs: number): Promise<never> {
  await job.moveToDelayed(Date.now() + delayMs, token);
  throw new DelayedError();
}
