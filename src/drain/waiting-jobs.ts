import { DelayedError, type Job, WaitingError } from 'bullmq';
import { pause, within } from '../abortable.ts';
import { type Barrier, type Frontier, isPassed, nextSettle, readFrontier } from '../redis/in-flight.ts';
import { reconnect, type Redis } from '../redis/connect.ts';
import type { WriterParts } from './writer-parts.ts';

/** Text of the jobs that one worker keeps while they wait, and how many: what comes beyond is looked at again later. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;
const MAX_HELD_JOBS = 10_000;
const RETURN_MS = 1000;

/** How long one look waits for a settle. Notes can also go without one: those that are swept. */
const BLOCK_MS = 1000;
/** An answer this late means a half-open socket. */
const ANSWER_MS = BLOCK_MS + 2000;
const RETRY_MS = 500;

/** What an attempt must wait for. */
export interface Wait extends Barrier {
  /** Enough for the job to be tried again when another with a `together` is: those that can go in one go shall. */
  readonly together?: Barrier;
}

/** Nothing to wait for: of an attempt that was told to stop. */
export const NO_WAIT: Wait = { chunks: 0, ranges: 0 };

/** One try to do the job: what it must wait for, or nothing once it is done. */
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
 * Jobs that wait for something earlier to settle (docs/decisions/0009-waiting.md).
 *
 * A waiting job holds no slot of its queue, so that what it waits for can always be taken: it stands among BullMQ's delayed
 * jobs, due later than it will ever wait here, and this process keeps it in memory. The settle it waits for wakes it, and it
 * is done from memory, not fetched again behind the backlog. While it waits its due time is moved on; when this process
 * dies, it comes due and another worker takes it. A job that is done twice ends the same.
 */
export class WaitingJobs {
  readonly #parts: WriterParts;
  /** Used by nobody else: it blocks. */
  readonly #watch: Redis;
  readonly #held = new Map<string, Held>();
  #bytes = 0;
  #frontier: Frontier | undefined;
  /** Looks at the frontier so far. */
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
   * Tries a job; one that must wait is kept here and leaves its slot.
   * @param bytes that the attempt keeps in memory
   * @throws what the attempt throws; BullMQ's word that the job was put elsewhere
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
    const isFull = this.#held.size >= MAX_HELD_JOBS || this.#bytes + bytes > MAX_HELD_BYTES;
    await job.moveToDelayed(Date.now() + (isFull ? RETURN_MS : this.#dueMs), token);
    if (!isFull) this.#hold({ job, bytes, attempt, wait, running: undefined }, looks);
    throw new DelayedError();
  }

  /** Gives back what waits and ends what is under way; while Redis is away that does not end. */
  async finish(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#renewals);
    const jobs = [...this.#held.values()];
    await Promise.allSettled(
      jobs.map(({ job, running }) => running ?? (this.#drop(job.id ?? ''), job.promote())),
    );
  }

  /** As long as a job stays with a worker that no longer answers. */
  get #dueMs(): number {
    return this.#parts.config.chunkLockMs;
  }

  /** @param looks how many there were when the attempt began: a later one may have seen the barrier pass. */
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

  /** What settled during the attempt and before the last look has been looked past. Later settles bring another look. */
  #resumeIfMissed(held: Held, looks: number): void {
    const isMissed = this.#frontier !== undefined && this.#looks > looks;
    if (isMissed && isPassed(held.wait, this.#frontier as Frontier)) this.#resume(held);
  }

  /** One look a settle, as long as something waits. */
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

  /** What can be tried again, in the order of stamps. */
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
      // The job comes due, and whoever takes it finds it done, or tries again.
      if (!signal.aborted)
        log.warn({ err: error, job: id }, 'a job that waited could not be ended; the queue tries again');
    }
  }

  /** Keeps the jobs held here from coming due elsewhere. */
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

/** Stopping: another worker may have the job at once instead of after a stall. */
async function giveBack(job: Job, token: string | undefined): Promise<never> {
  await job.moveToWait(token);
  throw new WaitingError();
}
