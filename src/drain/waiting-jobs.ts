import { DelayedError, type Job, WaitingError } from 'bullmq';
import { pause, within } from '../abortable.ts';
import { type Barrier, type Frontier, isPassed, nextSettle, readFrontier } from '../redis/in-flight.ts';
import type { Redis } from '../redis/client.ts';
import { reconnect } from '../redis/connect.ts';
import type { WriterParts } from './writer-parts.ts';

/** Number of the waiting jobs that one worker keeps. Others are delayed and tried again later. */
const MAX_HELD_JOBS = 10_000;
const RETURN_MS = 1000;

/** How long one look waits for a settle. A swept chunk ends a wait without a settle, so look again after this time. */
const BLOCK_MS = 1000;
/** No answer for so long means a half-open socket. */
const ANSWER_MS = BLOCK_MS + 2000;
const RETRY_MS = 500;

/** What an attempt must wait for. */
export interface Wait extends Barrier {
  /** Lower barrier that is enough when another job with a `together` is tried: those that can share one attempt do. */
  readonly together?: Barrier;
}

/** Nothing to wait for. An attempt returns it when it was told to stop. */
export const NO_WAIT: Wait = { chunks: 0, ranges: 0 };

/** Tries the job. It returns what the job must wait for, or nothing once it is done. */
export type Attempt = () => Promise<Wait | undefined>;

interface Held {
  readonly job: Job;
  readonly bytes: number;
  readonly attempt: Attempt;
  wait: Wait;
  /** Its attempt is under way. */
  running: Promise<void> | undefined;
}

/**
 * Jobs that wait for something earlier to settle (docs/decisions/0009-waiting.md). A waiting job holds no slot of its queue, so
 * the queue can always take what it waits for. BullMQ keeps it among the delayed jobs, and this process keeps it in memory.
 * When what it waits for settles, it is done from memory and not fetched again behind the backlog. While it waits, its due time
 * is moved on. When this process dies, the job comes due and another worker takes it. A job that is done twice ends the same.
 */
export class WaitingJobs {
  readonly #parts: WriterParts;
  /** A connection of its own, because it blocks. */
  readonly #watch: Redis;
  readonly #held = new Map<string, Held>();
  #bytes = 0;
  #frontier: Frontier | undefined;
  /** How often the frontier was looked at. */
  #looks = 0;
  #following = false;
  #renewals: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param watch a `failFast` connection of its own */
  constructor(parts: WriterParts, watch: Redis) {
    this.#parts = parts;
    this.#watch = watch;
  }

  /**
   * Tries a job. One that must wait is kept here and leaves its slot.
   * @param bytes that the attempt keeps in memory
   * @throws what the attempt throws; DelayedError or WaitingError, which tell BullMQ that the job was moved
   */
  async process(job: Job, token: string | undefined, bytes: number, attempt: Attempt): Promise<void> {
    const looks = this.#looks;
    let wait: Wait | undefined;
    try {
      wait = await attempt();
    } catch (error) {
      if (!this.#parts.signal.aborted) throw error;
      return giveBack(job, token);
    }
    if (wait === undefined) return;
    if (this.#stopped) return giveBack(job, token);
    const { drainMaxBytes } = this.#parts.config;
    const isFull = this.#held.size >= MAX_HELD_JOBS || this.#bytes + bytes > drainMaxBytes;
    await job.moveToDelayed(Date.now() + (isFull ? RETURN_MS : this.#dueMs), token);
    // `finish` gives back only what is held: a job that was being moved meanwhile is given back here.
    if (this.#stopped) await job.promote();
    else if (!isFull) this.#hold({ job, bytes, attempt, wait, running: undefined }, looks);
    throw new DelayedError();
  }

  /** Gives waiting jobs back and waits for running attempts. While Redis is away it does not resolve. */
  async finish(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#renewals);
    const jobs = [...this.#held.values()];
    await Promise.allSettled(
      jobs.map(({ job, running }) => running ?? (this.#drop(job.id ?? ''), job.promote())),
    );
  }

  /** The time after which other workers take a job whose worker no longer answers. */
  get #dueMs(): number {
    return this.#parts.config.chunkLockMs;
  }

  /** @param looks number of looks when the attempt began. A later look may have seen the barrier pass. */
  #hold(held: Held, looks: number): void {
    const id = held.job.id ?? '';
    this.#drop(id);
    this.#held.set(id, held);
    this.#bytes += held.bytes;
    this.#renewals ??= setInterval(() => void this.#renew(), this.#dueMs / 3);
    this.#resumeIfMissed(held, looks);
    if (!this.#following) void this.#follow();
  }

  #drop(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    this.#bytes -= held.bytes;
    if (this.#held.size > 0) return;
    clearInterval(this.#renewals);
    this.#renewals = undefined;
  }

  /**
   * A settle during the attempt may have been seen by a look before the job was held. Resume the job then; later settles bring
   * another look.
   */
  #resumeIfMissed(held: Held, looks: number): void {
    const isMissed = this.#frontier !== undefined && this.#looks > looks;
    if (isMissed && isPassed(held.wait, this.#frontier as Frontier)) this.#resume(held);
  }

  /** Looks at the frontier after each settle while a job waits. */
  async #follow(): Promise<void> {
    const { queue, keys, log } = this.#parts;
    this.#following = true;
    while (this.#held.size > 0 && !this.#stopped) {
      try {
        const frontier = await readFrontier(queue, keys);
        this.#frontier = frontier;
        this.#looks++;
        for (const held of this.#awake(frontier)) this.#resume(held);
        await within(ANSWER_MS, nextSettle(this.#watch, keys, frontier.settle, BLOCK_MS));
      } catch (error) {
        if (this.#stopped) break;
        log.debug({ err: error }, 'settles out of sight, trying again');
        reconnect(this.#watch);
        await pause(RETRY_MS, { ref: false });
      }
    }
    this.#following = false;
    this.#frontier = undefined;
  }

  /** The jobs that can be tried again, in the order of stamps. */
  #awake(frontier: Frontier): Held[] {
    const idle = [...this.#held.values()].filter(({ running }) => running === undefined);
    const awake = idle.filter(({ wait }) => isPassed(wait, frontier));
    if (!awake.some(({ wait }) => wait.together !== undefined)) return awake;
    return idle
      .filter(({ wait }) => isPassed(wait.together ?? wait, frontier))
      .toSorted((a, b) => a.wait.chunks - b.wait.chunks);
  }

  #resume(held: Held): void {
    const running = this.#run(held).finally(() => {
      if (held.running === running) held.running = undefined;
    });
    held.running = running;
  }

  async #run(held: Held): Promise<void> {
    const { log, signal } = this.#parts;
    const id = held.job.id ?? '';
    const isHeld = () => this.#held.get(id) === held;
    const looks = this.#looks;
    try {
      const wait = await held.attempt();
      if (wait !== undefined) {
        held.wait = wait;
        held.running = undefined;
        if (isHeld() && !this.#stopped) return this.#resumeIfMissed(held, looks);
      }
      if (isHeld()) this.#drop(id);
      await (wait === undefined ? held.job.remove() : held.job.promote());
    } catch (error) {
      if (isHeld()) this.#drop(id);
      // The job comes due. The worker that takes it finds it done, or tries again.
      if (!signal.aborted)
        log.warn({ err: error, job: id }, 'a job that waited could not be ended; the queue tries again');
    }
  }

  /** Moves the due times on, so that no other worker takes the jobs held here. */
  async #renew(): Promise<void> {
    for (const { job } of this.#held.values()) {
      try {
        await job.changeDelay(this.#dueMs);
      } catch (error) {
        this.#parts.log.debug({ err: error, job: job.id }, 'a waiting job was not renewed');
      }
    }
  }
}

/** Puts a job back while this worker stops. Another worker takes it at once instead of after a stall. */
async function giveBack(job: Job, token: string | undefined): Promise<never> {
  await job.moveToWait(token);
  throw new WaitingError();
}
