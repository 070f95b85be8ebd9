import { setTimeout as sleep } from 'node:timers/promises';
import { QueueEvents } from 'bullmq';
import { duration, groupedDigits } from '../src/cli/terminal.ts';
import { WRITES_QUEUE } from '../src/keys.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import type { Report } from './report.ts';
import type { Workers } from './workers.ts';
import type { Writes } from './writes.ts';

/** BullMQ's lock on a chunk: how long a killed worker's chunks wait. Short, so that the demo is. */
export const LOCK_MS = 10_000;
/** From this many items on, both workers are busy for seconds: a kill that finds one idle proves nothing. */
const BUSY_ITEMS = 20_000;
/** Commands that the dead process had already sent may still run for a moment. */
const LAST_COMMANDS_MS = 100;

/** Kills a worker in the middle of its work, and looks from outside at what BullMQ does with the chunks it held. */
export class Crash {
  readonly #deployment: Deployment;
  /** Of each partition's queue. */
  readonly #events: readonly QueueEvents[];
  /** Chunks found abandoned, and when. */
  readonly #stalled = new Map<string, number>();
  readonly #completed = new Set<string>();
  #killedAt = 0;
  /** Chunks in hand right after the kill, by worker and partition. Which are the dead one's shows later. */
  #holdings: string[][] = [];
  #story = '';

  private constructor(deployment: Deployment) {
    this.#deployment = deployment;
    this.#events = deployment.lanes.keys.map(({ queuePrefix: prefix }) => {
      const events = new QueueEvents(WRITES_QUEUE, { connection: deployment.redis, prefix });
      // The demo's own commands tell when Redis is away.
      events.on('error', () => undefined);
      events.on('stalled', ({ jobId }) => this.#stalled.set(jobId, performance.now()));
      return events.on('completed', ({ jobId }) => this.#completed.add(jobId));
    });
  }

  static async prepare(deployment: Deployment): Promise<Crash> {
    const crash = new Crash(deployment);
    await Promise.all(crash.#events.map((events) => events.waitUntilReady()));
    return crash;
  }

  /** Kills a worker and starts another: once half of the writes are enqueued and both workers hold chunks; in a short run, once one does. */
  async killHalfway(victim: string, workers: Workers, writes: Writes, total: number): Promise<void> {
    // A worker process can hold chunks of every partition.
    const oneHolds = this.#deployment.lanes.count;
    for (let holders = 0; writes.settled < total; holders = (await this.#held()).length) {
      if (writes.enqueued >= total / 2 && holders > (writes.enqueued < total ? oneHolds : 0)) break;
      await sleep(2);
    }
    this.#story = `${victim} was killed (SIGKILL) when ${groupedDigits(writes.enqueued)} items were enqueued and ${groupedDigits(writes.settled)} had settled.`;
    await workers.kill(victim);
    this.#killedAt = performance.now();
    await sleep(LAST_COMMANDS_MS);
    this.#holdings = await this.#held();
    await workers.start('worker.3', 'drain');
  }

  /** The chunks that each worker works on, those of each partition by themselves. */
  async #held(): Promise<string[][]> {
    const { redis, lanes } = this.#deployment;
    const byHolder = new Map<string, string[]>();
    await Promise.all(
      lanes.keys.map(async (keys) => {
        const active = await redis.lrange(keys.job(WRITES_QUEUE, 'active'), 0, -1);
        for (const chunk of active) {
          // A lock's value is the id of a BullMQ worker, one for each partition of a process, then a number.
          const lock = await redis.get(keys.job(WRITES_QUEUE, `${chunk}:lock`));
          const holder = lock?.replace(/:\d+$/, '');
          if (holder !== undefined) byHolder.set(holder, [...(byHolder.get(holder) ?? []), chunk]);
        }
      }),
    );
    return [...byHolder.values()];
  }

  /** What became of the killed worker's chunks, once everything has settled. */
  tell(report: Report, items: number): string {
    // Only a dead worker's chunks are ever found abandoned: that tells whose they were.
    const held = this.#holdings.filter((chunks) => chunks.some((chunk) => this.#stalled.has(chunk))).flat();
    const recovered = held.filter((chunk) => this.#stalled.has(chunk) && this.#completed.has(chunk));
    report.check("killed worker's chunks settled by another", recovered.length, held.length);
    report.check('chunks of living workers given to others', this.#stalled.size - recovered.length, 0);
    if (held.length === 0 && items >= BUSY_ITEMS) report.difference('the killed worker held no chunk');
    if (held.length === 0)
      return `${this.#story} It held no chunk then: a run this short leaves little time.`;
    const after = duration(Math.max(...this.#stalled.values()) - this.#killedAt);
    return `${this.#story}\nBullMQ gave its ${held.length} chunks to others ${after} later, when its lock of ${duration(LOCK_MS)} had expired.`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#events.map((events) => events.close()));
  }
}
