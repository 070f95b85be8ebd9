import { QueueEvents } from 'bullmq';
import type { NewItem } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { type Naive, startNaive } from './naive.ts';

/** A job has four. With BullMQ's 10,000 a caller that falls 2,500 jobs behind would never hear of the oldest. */
const MAX_EVENTS = 1_000_000;

/** Writes through the hand-written worker, and hears of each job's end as its caller would. */
export class NaiveWriter {
  readonly #naive: Naive;
  readonly #events: QueueEvents;
  readonly #ended = new Map<string, (error?: Error) => void>();
  #jobs = 0;

  private constructor(naive: Naive, events: QueueEvents) {
    this.#naive = naive;
    this.#events = events;
    events.on('completed', ({ jobId }) => this.#end(jobId));
    events.on('failed', ({ jobId, failedReason }) => this.#end(jobId, new Error(failedReason)));
  }

  static async open(deployment: Deployment): Promise<NaiveWriter> {
    const { config } = deployment;
    const naive = await startNaive(deployment, MAX_EVENTS);
    const events = new QueueEvents(naive.queue.name, {
      connection: { url: config.redisUrl },
      prefix: config.namespace,
      // From the first event on, also when it comes before the first read.
      lastEventId: '0-0',
    });
    const writer = new NaiveWriter(naive, events);
    await events.waitUntilReady();
    return writer;
  }

  /** Resolves when the row is in Postgres and the value in Redis. */
  async write(item: NewItem): Promise<void> {
    const jobId = `job-${this.#jobs++}`;
    const ended = new Promise<void>((resolve, reject) => {
      this.#ended.set(jobId, (error) => (error === undefined ? resolve() : reject(error)));
    });
    await Promise.all([this.#naive.queue.add('put', item, { jobId, removeOnComplete: true }), ended]);
  }

  async close(): Promise<void> {
    await this.#events.close();
    await this.#naive.close();
  }

  #end(jobId: string, error?: Error): void {
    this.#ended.get(jobId)?.(error);
    this.#ended.delete(jobId);
  }
}
