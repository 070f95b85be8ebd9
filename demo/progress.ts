const REDRAW_MS = 80;
const STEP = 0.1;

export interface ProgressSource {
  readonly total: number;
  readonly enqueued: number;
  readonly settled: number;
}

/**
 * Shows how far writes have come: a bar that redraws in a terminal, a line every 10 % elsewhere. In the bar, full blocks
 * have settled, shaded ones are enqueued.
 */
export class Progress {
  readonly #out: NodeJS.WriteStream;
  #source: ProgressSource | undefined;
  #timer: NodeJS.Timeout | undefined;
  #nextStep = STEP;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  follow(source: ProgressSource): void {
    this.#source = source;
    this.#nextStep = STEP;
    this.#timer = setInterval(() => this.#show(), REDRAW_MS);
  }

  /** Shows the last state for good. Harmless when nothing is followed. */
  end(): void {
    if (this.#source === undefined) return;
    clearInterval(this.#timer);
    this.#show();
    if (this.#out.isTTY) this.#out.write('\n');
    this.#source = undefined;
  }

  /** Prints a line above the bar. */
  say(line: string): void {
    this.#out.write(this.#out.isTTY && this.#source !== undefined ? `\r\u001b[K${line}\n` : `${line}\n`);
    if (this.#out.isTTY) this.#show();
  }

  #show(): void {
    if (this.#source === undefined) return;
    const { total, enqueued, settled } = this.#source;
    // Of one width, so that the bar keeps its own.
    const all = number(total);
    const [sent, done] = [enqueued, settled].map((count) => number(count).padStart(all.length));
    const counts = `enqueued ${sent} · settled ${done} of ${all}`;
    if (this.#out.isTTY) {
      const width = Math.max(10, Math.min(40, (this.#out.columns || 80) - counts.length - 12));
      this.#out.write(`\r\u001b[K  ${bar(width, settled / total, enqueued / total)} ${counts}`);
      return;
    }
    const share = settled / total;
    if (share < this.#nextStep) return;
    while (this.#nextStep <= share) this.#nextStep += STEP;
    this.#out.write(`  ${String(Math.floor(share * 100)).padStart(3)} %  ${counts}\n`);
  }
}

function bar(width: number, settled: number, enqueued: number): string {
  const full = Math.floor(width * settled);
  const shaded = Math.floor(width * enqueued) - full;
  return `${'█'.repeat(full)}${'▒'.repeat(shaded)}${'░'.repeat(width - full - shaded)}`;
}

export function number(value: number): string {
  return Math.round(value).toLocaleString('en');
}
