import type { Queue } from 'bullmq';
import { within } from '../abortable.ts';

const ANSWER_MS = 500;

/** Whether any worker listens to a queue, asked when a wait has run out of its time. */
export class WorkerCensus {
  readonly #queue: Pick<Queue, 'getWorkersCount'>;
  #asking: Promise<boolean | undefined> | undefined;

  constructor(queue: Pick<Queue, 'getWorkersCount'>) {
    this.#queue = queue;
  }

  /** Undefined when Redis does not tell in time, or at all. Many who ask at once share the answer. */
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
