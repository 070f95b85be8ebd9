import type { Terminal } from './terminal.ts';
import { groupedDigits } from './table.ts';

export interface ProgressFigures {
  /** Share done, 0 to 1; undefined when the end is not known. */
  readonly share: number | undefined;
  readonly settled: number;
  readonly waiting: number;
}

const REDRAW_MS = 100;
const BAR_CHARS = 24;
/** Warn when nothing has settled for so long. */
const STALL_MS = 10_000;

/** Draws a bar on the last line of a terminal. In a pipe or file it only warns when nothing settles. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #figures: () => ProgressFigures;
  readonly #started = performance.now();
  readonly #timer: NodeJS.Timeout;
  #settled = 0;
  #movedAt = performance.now();
  #warned = false;

  constructor(terminal: Terminal, figures: () => ProgressFigures) {
    this.#terminal = terminal;
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
    const { settled, waiting } = this.#figures();
    const now = performance.now();
    if (settled !== this.#settled || waiting === 0) {
      this.#settled = settled;
      this.#movedAt = now;
      this.#warned = false;
    } else if (!this.#warned && now - this.#movedAt > STALL_MS) {
      this.#warned = true;
      this.#terminal.complain(
        `nothing has settled for ${STALL_MS / 1000} s; is a drain worker running? Accepted writes are safe in the queue`,
      );
    }
    if (this.#terminal.isWatched) this.#terminal.redraw(this.#line());
  }

  #line(): string {
    const { share, settled, waiting } = this.#figures();
    const perSecond = Math.round((settled * 1000) / Math.max(1, performance.now() - this.#started));
    const filled = Math.round((share ?? 0) * BAR_CHARS);
    const bar =
      share === undefined
        ? ''
        : `[${'#'.repeat(filled)}${'-'.repeat(BAR_CHARS - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %  `;
    const line = `${bar}${groupedDigits(settled)} settled, ${groupedDigits(waiting)} waiting, ${groupedDigits(perSecond)}/s`;
    return line.slice(0, this.#terminal.columns - 1);
  }
}
