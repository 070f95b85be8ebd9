import type { Stamps } from './held.ts';
import { isNewer } from './pending-view.ts';

/**
 * A page of a scan whose items wait for the caller, perhaps for long. It takes note of their newer versions that were given
 * out meanwhile and that L1 does not hold any more; so it is bounded by its page.
 */
export class PageWatch {
  readonly #rows: Map<string, Stamps>;
  readonly #outdated = new Set<string>();
  readonly #onEnd: () => void;

  constructor(rows: ReadonlyMap<string, Stamps>, onEnd: () => void) {
    this.#rows = new Map();
    for (const [id, { contentVersion, stateVersion }] of rows)
      this.#rows.set(id, { contentVersion, stateVersion });
    this.#onEnd = onEnd;
  }

  note(id: string, stamps: Stamps): void {
    if (this.isBelow(id, stamps)) this.#outdated.add(id);
  }

  /** Whether the page's row of `id` is older than these. */
  isBelow(id: string, stamps: Stamps | undefined): boolean {
    const own = this.#rows.get(id);
    return own !== undefined && stamps !== undefined && isNewer(stamps, own);
  }

  isOutdated(id: string): boolean {
    return this.#outdated.has(id);
  }

  end(): void {
    this.#onEnd();
  }
}
