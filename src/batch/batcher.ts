export interface BatcherOptions<T, R> {
  readonly maxItems: number;
  readonly maxBytes: number;
  /** How long the first entry of a batch waits for others while another batch is being written, in milliseconds. */
  readonly waitMs: number;
  /** Batches written at once. Meanwhile the next one collects entries. */
  readonly maxInFlight: number;
  readonly sizeOf: (entry: T) => { readonly items: number; readonly bytes: number };
  /** Writes one batch and returns one result for each entry. When it rejects, each entry rejects. */
  readonly write: (entries: readonly T[]) => Promise<readonly R[]>;
}

interface Waiting<T, R> {
  readonly entry: T;
  readonly items: number;
  readonly bytes: number;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Collects entries into batches, in the order they came. A batch is written when it is full, when its first entry has waited
 * long enough, or when nothing else is being written: then waiting would only delay. While too many batches are being written it
 * goes on collecting, so batches grow with the load.
 */
export class Batcher<T, R> {
  readonly #options: BatcherOptions<T, R>;
  #waiting: Waiting<T, R>[] = [];
  #items = 0;
  #bytes = 0;
  #inFlight = 0;
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;
  #due = false;

  constructor(options: BatcherOptions<T, R>) {
    this.#options = options;
  }

  /** Resolves when the batch that took the entry has been written. */
  add(entry: T): Promise<R> {
    const { items, bytes } = this.#options.sizeOf(entry);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, items, bytes, resolve, reject });
      this.#items += items;
      this.#bytes += bytes;
      this.#timer ??= setTimeout(() => {
        this.#due = true;
        this.#dispatch();
      }, this.#options.waitMs);
      this.#dispatch();
      this.#endTurn();
    });
  }

  /** With nothing being written, a batch takes what comes in this turn of the event loop and goes. */
  #endTurn(): void {
    if (this.#inFlight > 0 || this.#waiting.length === 0) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#due ||= this.#inFlight === 0;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const { maxItems, maxBytes, maxInFlight } = this.#options;
    while (
      this.#waiting.length > 0 &&
      this.#inFlight < maxInFlight &&
      (this.#due || this.#items >= maxItems || this.#bytes >= maxBytes)
    ) {
      void this.#write(this.#take());
    }
  }

  /** Takes as many entries as the limits allow, and at least one. */
  #take(): Waiting<T, R>[] {
    let items = 0;
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      if (
        count > 0 &&
        (items + waiting.items > this.#options.maxItems || bytes + waiting.bytes > this.#options.maxBytes)
      )
        break;
      items += waiting.items;
      bytes += waiting.bytes;
      count++;
    }
    const taken = this.#waiting.splice(0, count);
    this.#items -= items;
    this.#bytes -= bytes;
    if (this.#waiting.length === 0) {
      clearTimeout(this.#timer);
      clearImmediate(this.#turn);
      this.#timer = undefined;
      this.#turn = undefined;
      this.#due = false;
    }
    return taken;
  }

  async #write(batch: readonly Waiting<T, R>[]): Promise<void> {
    this.#inFlight++;
    try {
      const results = await this.#options.write(batch.map((waiting) => waiting.entry));
      batch.forEach((waiting, i) => waiting.resolve(results[i] as R));
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    } finally {
      this.#inFlight--;
      this.#dispatch();
      this.#endTurn();
    }
  }
}
