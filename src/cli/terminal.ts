import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { printable, printableLines } from '../printable.ts';

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

type Cell = string | number | boolean | undefined;

/** Aligned columns under their headings; numbers to the right. Empty for no rows. */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) return '';
  const texts = rows.map((row) => row.map(cellText));
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...texts.map((row) => row[column]?.length ?? 0)),
  );
  const right = headings.map((_, column) =>
    rows.every((row) => row[column] === undefined || typeof row[column] === 'number'),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [line(headings), ...texts.map(line)].join('\n');
}

/** One line for each name and its value. */
export function facts(pairs: readonly (readonly [name: string, value: Cell])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${cellText(value)}`.trimEnd()).join('\n');
}

function cellText(cell: Cell): string {
  if (cell === undefined) return '-';
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
  return typeof cell === 'number' ? groupedDigits(cell) : printable(cell);
}

/** 135233 as 135,233 in every locale. Fractions keep three digits. */
export function groupedDigits(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 3 });
}

export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 120_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds < 7_200_000) return `${Math.round(milliseconds / 60_000)} min`;
  return `${Math.round(milliseconds / 3_600_000)} h`;
}

/** As text in UTC. */
export function timeOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

interface ProgressFigures {
  /** Share done, 0 to 1; undefined when the end is not known. */
  readonly share: number | undefined;
  readonly done: number;
  readonly waiting: number;
}

interface ProgressWords {
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
