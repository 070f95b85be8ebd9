const LISTED = 20;

/** What was not exactly as the model says. One is enough to fail the demo. */
export class Differences {
  #count = 0;
  readonly #listed: string[] = [];

  add(difference: string): void {
    this.#count++;
    if (this.#listed.length < LISTED) this.#listed.push(difference);
  }

  get count(): number {
    return this.#count;
  }

  lines(): string[] {
    const more = this.#count - this.#listed.length;
    return more > 0 ? [...this.#listed, `… and ${more} more`] : [...this.#listed];
  }
}
