import type { Terminal } from './terminal.ts';
import { groupedDigits } from './table.ts';

export interface ProgressFigures {
  /** Share done, 0 to 1; undefined when the end is not known. */
  readonly share: number | undefined;
  readonly done: number;
  readonly waiting: number;
}

export interface ProgressWords {
  /** After the number that is done, and after the one that waits. */
  readonly done: string;
  readonly waiting: string;
  /** What to look at when nothing is done for a while. */
  readonly stalled: string;
}

const SETTLING: ProgressWords = {
  done: 'settled',
  waiting: 'waiting',
  stalled: 'is a drain worker running? Accepted writes are safe in the queue',
};

const REDRAW_MS = 100;
const BAR_CHARS = 24;
/** Warn when nothing was done for so long. */
const STALL_MS = 10_000;

/** Draws a bar on the last line of a terminal. In a pipe or file it only warns when nothing goes on. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #figures: () => ProgressFigures;
  readonly #words: ProgressWords;
  readonly #started = performance.now();
  readonly #timer: NodeJS.Timeout;
  #done = 0;
  #movedAt = performance.now();
  #warned = false;

  constructor(terminal: Terminal, figures: () => ProgressFigures, words = SETTLING) {
    this.#terminal = terminal;
    this.#words = words;
    this.#figures = figures;
    if (terminal.isWatched) {
      terminal.overlay({ clear: () => terminal.redraw(''), draw: () => terminal.redraw(this.#line()) });
    }
    this.#timer = setInterval(() => this.#tick(), REDRAW_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#terminal.overlay(undefined);
  }

  #tick(): void {
    const { done, waiting } = this.#figures();
    const now = performance.now();
    if (done !== this.#done || waiting === 0) {
      this.#done = done;
      this.#movedAt = now;
      this.#warned = false;
    } else if (!this.#warned && now - this.#movedAt > STALL_MS) {
      this.#warned = true;
      this.#terminal.complain(
        `nothing was ${this.#words.done} for ${STALL_MS / 1000} s; ${this.#words.stalled}`,
      );
    }
    if (this.#terminal.isWatched) this.#terminal.redraw(this.#line());
  }

  #line(): string {
    const { share, done, waiting } = this.#figures();
    const { done: doneWord, waiting: waitingWord } = this.#words;
    const perSecond = Math.round((done * 1000) / Math.max(1, performance.now() - this.#started));
    const filled = Math.round((share ?? 0) * BAR_CHARS);
    const bar =
      share === undefined
        ? ''
        : `[${'#'.repeat(filled)}${'-'.repeat(BAR_CHARS - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %  `;
    const line = `${bar}${groupedDigits(done)} ${doneWord}, ${groupedDigits(waiting)} ${waitingWord}, ${groupedDigits(perSecond)}/s`;
    return line.slice(0, this.#terminal.columns - 1);
  }
}
