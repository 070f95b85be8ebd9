import { QueueEvents } from 'bullmq';
import { type Keys, WRITES_QUEUE } from '../src/keys.ts';
import type { Redis } from '../src/redis/connect.ts';

/** What BullMQ did with a chunk that a dead worker left behind; times in milliseconds of `performance.now()`. */
export interface Recovery {
  readonly stalledAt: number;
  startedAgain: boolean;
  completed: boolean;
}

/** Looks into BullMQ from outside: who holds which chunk, and what becomes of chunks whose worker died. */
export class QueueWatch {
  readonly recoveries = new Map<string, Recovery>();
  readonly #redis: Redis;
  readonly #keyOf: (name: string) => string;
  readonly #events: QueueEvents;

  private constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keyOf = (name) => `${keys.queuePrefix}:${WRITES_QUEUE}:${name}`;
    this.#events = new QueueEvents(WRITES_QUEUE, { connection: redis, prefix: keys.queuePrefix });
    // The demo's own commands tell when Redis is away.
    this.#events.on('error', () => undefined);
    this.#events.on('stalled', ({ jobId }) => {
      this.recoveries.set(jobId, { stalledAt: performance.now(), startedAgain: false, completed: false });
    });
    this.#events.on('active', ({ jobId }) => {
      const recovery = this.recoveries.get(jobId);
      if (recovery !== undefined) recovery.startedAgain = true;
    });
    this.#events.on('completed', ({ jobId }) => {
      const recovery = this.recoveries.get(jobId);
      if (recovery !== undefined) recovery.completed = true;
    });
  }

  /** @param redis a connection that is ready; BullMQ duplicates it. */
  static async open(redis: Redis, keys: Keys): Promise<QueueWatch> {
    const watch = new QueueWatch(redis, keys);
    await watch.#events.waitUntilReady();
    return watch;
  }

  /** The chunks being worked on, by worker: a lock's value is the worker's id, then a number. */
  async holdings(): Promise<Map<string, string[]>> {
    const chunks = await this.#redis.lrange(this.#keyOf('active'), 0, -1);
    const byWorker = new Map<string, string[]>();
    if (chunks.length === 0) return byWorker;
    const locks = await this.#redis.mget(chunks.map((chunk) => this.#keyOf(`${chunk}:lock`)));
    chunks.forEach((chunk, i) => {
      const worker = locks[i]?.replace(/:\d+$/, '');
      if (worker === undefined) return;
      const held = byWorker.get(worker);
      if (held === undefined) byWorker.set(worker, [chunk]);
      else held.push(chunk);
    });
    return byWorker;
  }

  /** Chunks that wait, are worked on, or were put off. */
  async depth(): Promise<number> {
    const [wait, active, delayed] = await Promise.all([
      this.#redis.llen(this.#keyOf('wait')),
      this.#redis.llen(this.#keyOf('active')),
      this.#redis.zcard(this.#keyOf('delayed')),
    ]);
    return wait + active + delayed;
  }

  close(): Promise<void> {
    return this.#events.close();
  }
}
