import type { NewItem } from '../../src/types/write.ts';

interface Waiting {
  readonly item: NewItem;
  resolve(): void;
  reject(error: unknown): void;
}

/** Items of a batch: as many as Tierline puts into a job. */
export const BATCH = 500;
/** How long an item waits for others. */
const WAIT_MS = 5;

/** Collects the items of jobs that run at once, and writes them together. `add` settles with the batch. */
export class Batcher {
  readonly #write: (items: readonly NewItem[]) => Promise<void>;
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(write: (items: readonly NewItem[]) => Promise<void>) {
    this.#write = write;
  }

  add(item: NewItem): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#waiting.length >= BATCH) void this.#flush();
      else this.#timer ??= setTimeout(() => void this.#flush(), WAIT_MS);
    });
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      await this.#write(batch.map(({ item }) => item));
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
