import { setTimeout as sleep } from 'node:timers/promises';
import { QueueEvents } from 'bullmq';
import { duration, groupedDigits } from '../src/cli/table.ts';
import { WRITES_QUEUE } from '../src/keys.ts';
import type { Deployment } from './deployment.ts';
import type { Report } from './report.ts';
import type { Workers } from './workers.ts';
import type { Writes } from './writes.ts';

/** BullMQ's lock on a chunk: how long a killed worker's chunks wait. Short, so that the demo is. */
export const LOCK_MS = 5000;
/** From this many items on, both workers are busy for seconds: a kill that finds one idle proves nothing. */
const BUSY_ITEMS = 20_000;
/** Commands that the dead process had already sent may still run for a moment. */
const LAST_COMMANDS_MS = 100;

/** Kills a worker in the middle of its work, and looks from outside at what BullMQ does with the chunks it held. */
export class Crash {
  readonly #deployment: Deployment;
  readonly #events: QueueEvents;
  /** Chunks found abandoned, and when. */
  readonly #stalled = new Map<string, number>();
  readonly #completed = new Set<string>();
  #killedAt = 0;
  /** Chunks in hand right after the kill, by worker. Which of the workers is the dead one shows later. */
  #holdings: string[][] = [];
  #story = '';

  private constructor(deployment: Deployment) {
    const { queue, keys } = deployment;
    this.#deployment = deployment;
    this.#events = new QueueEvents(WRITES_QUEUE, { connection: queue, prefix: keys.queuePrefix });
    // The demo's own commands tell when Redis is away.
    this.#events.on('error', () => undefined);
    this.#events.on('stalled', ({ jobId }) => this.#stalled.set(jobId, performance.now()));
    this.#events.on('completed', ({ jobId }) => this.#completed.add(jobId));
  }

  static async prepare(deployment: Deployment): Promise<Crash> {
    const crash = new Crash(deployment);
    await crash.#events.waitUntilReady();
    return crash;
  }

  /** Kills a worker and starts another: once half of the writes are enqueued and both workers hold chunks; in a short run, once one does. */
  async killHalfway(victim: string, workers: Workers, writes: Writes, total: number): Promise<void> {
    for (let holders = 0; writes.settled < total; holders = (await this.#held()).length) {
      if (writes.enqueued >= total / 2 && holders >= (writes.enqueued < total ? 2 : 1)) break;
      await sleep(2);
    }
    this.#story = `${victim} was killed (SIGKILL) when ${groupedDigits(writes.enqueued)} items were enqueued and ${groupedDigits(writes.settled)} had settled.`;
    await workers.kill(victim);
    this.#killedAt = performance.now();
    await sleep(LAST_COMMANDS_MS);
    this.#holdings = await this.#held();
    await workers.start('worker.3', 'drain');
  }

  /** The chunks that each worker works on. */
  async #held(): Promise<string[][]> {
    const { queue, keys } = this.#deployment;
    const keyOf = (name: string) => `${keys.queuePrefix}:${WRITES_QUEUE}:${name}`;
    const chunks = await queue.lrange(keyOf('active'), 0, -1);
    const byWorker = new Map<string, string[]>();
    for (const chunk of chunks) {
      // A lock's value is the worker's id, then a number.
      const worker = (await queue.get(keyOf(`${chunk}:lock`)))?.replace(/:\d+$/, '');
      if (worker !== undefined) byWorker.set(worker, [...(byWorker.get(worker) ?? []), chunk]);
    }
    return [...byWorker.values()];
  }

  /** What became of the killed worker's chunks, once everything has settled. */
  tell(report: Report, items: number): string {
    // Only a dead worker's chunks are ever found abandoned: that tells whose they were.
    const held = this.#holdings.find((chunks) => chunks.some((chunk) => this.#stalled.has(chunk))) ?? [];
    const recovered = held.filter((chunk) => this.#stalled.has(chunk) && this.#completed.has(chunk));
    report.check("killed worker's chunks settled by another", recovered.length, held.length);
    report.check('chunks of living workers given to others', this.#stalled.size - recovered.length, 0);
    if (held.length === 0 && items >= BUSY_ITEMS) report.difference('the killed worker held no chunk');
    if (held.length === 0)
      return `${this.#story} It held no chunk then: a run this short leaves little time.`;
    const after = duration(Math.max(...this.#stalled.values()) - this.#killedAt);
    return `${this.#story}\nBullMQ gave its ${held.length} chunks to others ${after} later, when its lock of ${duration(LOCK_MS)} had expired.`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#events.close();
  }
}
