import type { Queue } from 'bullmq';
import { within } from '../abortable.ts';

const ANSWER_MS = 500;

/** Tells whether any worker listens to a queue. It is asked when a wait times out. */
export class WorkerCensus {
  readonly #queue: Pick<Queue, 'getWorkersCount'>;
  #asking: Promise<boolean | undefined> | undefined;

  constructor(queue: Pick<Queue, 'getWorkersCount'>) {
    this.#queue = queue;
  }

  /** Undefined when Redis does not answer in time. Callers at the same time share one answer. */
  any(): Promise<boolean | undefined> {
    return (this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    }));
  }

  async #ask(): Promise<boolean | undefined> {
    try {
      return (await within(ANSWER_MS, this.#queue.getWorkersCount())) > 0;
    } catch {
      return undefined;
    }
  }
}
