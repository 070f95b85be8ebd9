import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { printableLines } from '../printable.ts';

type Stream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/**
 * Where a command writes: results to standard output, everything else to standard error. `printableLines` escapes every line,
 * because stored text could move the cursor or reverse the order of the characters.
 */
export class Terminal {
  readonly #out: Stream;
  readonly #err: Stream;
  /** A line on standard error that is redrawn in place. It is cleared before another line is printed. */
  #overlay: { clear(): void; draw(): void } | undefined;

  constructor(out: Stream, err: Stream) {
    this.#out = out;
    this.#err = err;
  }

  /** Waits while the pipe is full, so that a scan of millions of items needs little memory. */
  async print(line: string): Promise<void> {
    this.#overlay?.clear();
    if (!this.#out.write(`${printableLines(line)}\n`)) await once(this.#out, 'drain');
  }

  complain(line: string): void {
    this.#overlay?.clear();
    this.#err.write(`${printableLines(line)}\n`);
    this.#overlay?.draw();
  }

  /** Whether a person reads standard error. */
  get isWatched(): boolean {
    return this.#err.isTTY === true;
  }

  get columns(): number {
    return this.#err.columns ?? 80;
  }

  /** Draws on the last line of standard error, below the lines of `complain`. */
  redraw(text: string): void {
    this.#err.write(`\r\u001B[2K${text}`);
  }

  overlay(overlay: { clear(): void; draw(): void } | undefined): void {
    this.#overlay?.clear();
    this.#overlay = overlay;
  }
}
