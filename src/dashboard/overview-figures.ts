import type { Queue } from 'bullmq';
import type { Keys } from '../keys.ts';
import { type AllTotals, totalsOf } from '../postgres/all-items.ts';
import { type MoveFigures, readMove } from '../postgres/map-changes.ts';
import { pressureOf } from '../producer/admission.ts';
import { type Backlog, readBacklog, waitingOf } from '../redis/backlog.ts';
import { queuedBytes, type QueuedBytes } from '../redis/bull-queue.ts';
import type { Redis } from '../redis/client.ts';
import { type CopyTurns, countCopies, countLost, lostIds, readTurns } from '../redis/copies.ts';
import { type ChoreRun, choreRuns, readSeries, type SeriesPoint } from '../redis/history.ts';
import { memoryOf } from '../redis/masters.ts';
import type { Pressure } from '../types/write.ts';
import { type Html, html } from './layout.ts';
import { type Answer, answerOf, type Sources } from './sources.ts';

const LOST_IDS_SHOWN = 10;

export interface QueueFigures {
  readonly backlog: Backlog;
  readonly bytes: QueuedBytes;
  readonly pressure: Pressure;
  /** Writes, range deletes or both wait until somebody resumes them. */
  readonly isPaused: boolean;
  readonly delayedJobs: number;
  /** Of writes and range deletes. */
  readonly failedJobs: number;
  readonly series: readonly SeriesPoint[];
  readonly chores: ReadonlyMap<string, ChoreRun>;
  readonly sweep: SweepFigures;
}

/** What comparing L2 copies with their rows has found. */
export interface SweepFigures extends CopyTurns {
  /** Settled writes that L2 has and Postgres has lost. */
  readonly lost: number;
  /** Some of their ids. */
  readonly lostIds: readonly string[];
}

interface WorkerFigures {
  /** Connected processes; undefined when the server does not tell who is connected (managed services forbid CLIENT). */
  readonly drain: number | undefined;
  readonly maintenance: number | undefined;
}

interface CacheFigures {
  readonly copies: CopyCount | undefined;
  readonly usedBytes: number;
  /** 0 without a limit. */
  readonly limitBytes: number;
}

export interface OverviewFigures {
  readonly nowMs: number;
  readonly queue: Answer<QueueFigures>;
  readonly workers: Answer<WorkerFigures>;
  readonly cache: Answer<CacheFigures>;
  readonly totals: Answer<AllTotals>;
  /** A partition on its way to another shard. */
  readonly move: Answer<MoveFigures | undefined>;
}

/** Asks all backends at once. Never throws. */
export async function overviewFigures(sources: Sources, counter: CopyCounter): Promise<OverviewFigures> {
  const [queue, workers, cache, totals, move] = await Promise.all([
    answerOf(queueFigures(sources)),
    answerOf(workerFigures(sources)),
    answerOf(cacheFigures(sources, counter)),
    answerOf(totalsOf(sources.shards)),
    answerOf(readMove(sources.shards)),
  ]);
  return { nowMs: Date.now(), queue, workers, cache, totals, move };
}

async function queueFigures({ queue, keys, lanes, config, writes, ranges }: Sources): Promise<QueueFigures> {
  const backlog = await readBacklog(queue, lanes);
  const queues = [...writes, ...ranges];
  const [bytes, paused, delayed, failed, series, chores, sweep] = await Promise.all([
    queuedBytes(queue, lanes),
    Promise.all(queues.map((one) => one.isPaused())),
    Promise.all(writes.map((one) => one.getDelayedCount())),
    Promise.all(queues.map((one) => one.getFailedCount())),
    readSeries(queue, keys, backlog.nowMs),
    choreRuns(queue, keys),
    sweepFigures(queue, keys),
  ]);
  const pressure = pressureOf(waitingOf(backlog), config);
  const isPaused = paused.some(Boolean);
  const delayedJobs = delayed.reduce((sum, jobs) => sum + jobs, 0);
  const failedJobs = failed.reduce((sum, jobs) => sum + jobs, 0);
  return { backlog, bytes, pressure, isPaused, delayedJobs, failedJobs, series, chores, sweep };
}

async function sweepFigures(queue: Redis, keys: Keys): Promise<SweepFigures> {
  const [turns, lost, ids] = await Promise.all([
    readTurns(queue, keys),
    countLost(queue, keys),
    lostIds(queue, keys, LOST_IDS_SHOWN),
  ]);
  return { ...turns, lost, lostIds: ids };
}

async function workerFigures({ writes, maintenance }: Sources): Promise<WorkerFigures> {
  // A worker process drains all partitions unless it is told otherwise: that with the most shows most of them.
  const [lanes, chores] = await Promise.all([Promise.all(writes.map(connected)), connected(maintenance)]);
  const known = lanes.filter((count) => count !== undefined);
  const drain = known.length === 0 ? undefined : Math.max(...known);
  return { drain, maintenance: chores };
}

async function connected(queue: Queue): Promise<number | undefined> {
  const clients = await queue.getWorkers();
  // Where CLIENT LIST is forbidden BullMQ answers with one entry that has a message and no address.
  return clients.length > 0 && clients.every((client) => client['addr'] === undefined)
    ? undefined
    : clients.length;
}

async function cacheFigures({ cache }: Sources, counter: CopyCounter): Promise<CacheFigures> {
  const { used, limit } = await memoryOf(cache);
  return { copies: counter.latest, usedBytes: used, limitBytes: limit };
}

interface CopyCount {
  readonly copies: number;
  readonly atMs: number;
}

/** A count is shown for this time. Counting a million copies takes about ten seconds, and one second of Redis. */
const FRESH_MS = 10_000;
/** How long to wait for the generation of the copies. */
const GENERATION_MS = 2000;

/** The number of L2 copies. When a page asks and the last count is old, it counts again in the background. */
export class CopyCounter {
  readonly #sources: Pick<Sources, 'cache' | 'generation' | 'keys' | 'log'>;
  readonly #stop = new AbortController();
  #last: CopyCount | undefined;
  #counting: Promise<void> | undefined;

  constructor(sources: Pick<Sources, 'cache' | 'generation' | 'keys' | 'log'>) {
    this.#sources = sources;
  }

  /** The newest count there is; undefined before the first one. */
  get latest(): CopyCount | undefined {
    if (Date.now() - (this.#last?.atMs ?? 0) > FRESH_MS && !this.#stop.signal.aborted) {
      this.#counting ??= this.#count().finally(() => (this.#counting = undefined));
    }
    return this.#last;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#counting;
  }

  async #count(): Promise<void> {
    const { cache, generation, keys, log } = this.#sources;
    try {
      await generation.confirm();
      const { copies: current } = await generation.known(GENERATION_MS);
      const copies = await countCopies(cache, keys, current, this.#stop.signal);
      this.#last = { copies, atMs: Date.now() };
    } catch (error) {
      if (!this.#stop.signal.aborted) log.debug({ err: error }, 'L2 copies could not be counted');
    }
  }
}

const COUNT = new Intl.NumberFormat('en');
const ONE_DIGIT = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** 1,234,567 */
export function count(value: number): string {
  return COUNT.format(value);
}

/** 12.5 MiB */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
  return `${ONE_DIGIT.format(value / 1024 ** power)} ${units[power]}`;
}

/** 3 ms, 1.2 s, 4 min, 2.5 h, 3 d */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const [size, unit] = (
    [
      [1000, 's'],
      [60_000, 'min'],
      [3_600_000, 'h'],
      [86_400_000, 'd'],
    ] as const
  ).findLast(([least]) => ms >= least) ?? [1000, 's'];
  return `${ONE_DIGIT.format(ms / size)} ${unit}`;
}

export function percent(ratio: number): string {
  return `${ONE_DIGIT.format(ratio * 100)} %`;
}

/** 2026-11-22 08:15:30 UTC */
export function time(ms: number): Html {
  const iso = isoOf(ms);
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

/** 3 s ago */
export function ago(ms: number, nowMs: number): Html {
  return html`<time datetime="${isoOf(ms)}">${duration(Math.max(0, nowMs - ms))} ago</time>`;
}

/** Stamps come from stored data. One that is too large for a Date must not break the page. */
function isoOf(ms: number): string {
  return new Date(Math.min(Math.max(ms, 0), 8.64e15)).toISOString();
}
