import { duration, groupedDigits, table } from '../src/cli/terminal.ts';

const LISTED = 20;

/** What the demo measured and compared. One difference is enough to fail it. */
export class Report {
  #differences = 0;
  readonly #listed: string[] = [];
  readonly #stages: (readonly [name: string, items: number, time: string, perSecond: number])[] = [];
  readonly #checks: (readonly [what: string, found: number, expected: number, verdict: string])[] = [];

  difference(text: string | undefined): void {
    if (text === undefined) return;
    this.#differences++;
    if (this.#listed.length < LISTED) this.#listed.push(text);
  }

  /** Measures a stage. */
  async timed<T>(name: string, items: number, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const result = await work();
    const ms = performance.now() - startedAt;
    this.#stages.push([name, items, duration(ms), Math.round((items * 1000) / ms)]);
    return result;
  }

  /** A number as found, and as it must be. */
  check(what: string, found: number, expected: number): void {
    this.#checks.push([what, found, expected, found === expected ? 'exact' : 'WRONG']);
    if (found !== expected) this.difference(`${what}: ${found}, expected ${expected}`);
  }

  get isExact(): boolean {
    return this.#differences === 0;
  }

  tables(): string {
    const stages = table(['stage', 'items', 'time', 'items/s'], this.#stages);
    const checks = table(['count', 'found', 'expected', ''], this.#checks);
    return `\n${stages}\n\n${checks}\n`;
  }

  verdict(): string {
    if (this.isExact) return 'Every count and every item is exact.';
    const more = this.#differences > LISTED ? ['…'] : [];
    return [`${groupedDigits(this.#differences)} differences:`, ...this.#listed, ...more].join('\n  ');
  }
}
