/** How long one waits for a turn. A test that has one and needs another goes on after it, so nobody waits for ever. */
const PATIENCE_MS = 30_000;

/** Lets only so many do something at a time, as long as it does not take long. */
export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves with what ends the turn. */
  async take(): Promise<() => void> {
    if (this.#free <= 0) {
      await new Promise<void>((resolve) => {
        const go = () => {
          clearTimeout(timer);
          this.#waiting.delete(go);
          resolve();
        };
        const timer = setTimeout(go, PATIENCE_MS);
        this.#waiting.add(go);
      });
    }
    this.#free--;
    return () => {
      this.#free++;
      const [next] = this.#waiting;
      next?.();
    };
  }
}
