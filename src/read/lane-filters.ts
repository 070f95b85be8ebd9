import type { Lanes } from '../lanes.ts';
import type { AbsenceFilter, TrustedFilter } from './trusted-filter.ts';

/** The membership filters of all lanes, one a partition. Each is trusted for its own ids. */
export class LaneFilters implements AbsenceFilter {
  readonly #lanes: Lanes;
  readonly #filters: readonly TrustedFilter[];

  constructor(lanes: Lanes, filters: readonly TrustedFilter[]) {
    this.#lanes = lanes;
    this.#filters = filters;
  }

  get loads(): number {
    return this.#filters.reduce((sum, { loads }) => sum + loads, 0);
  }

  get size(): { readonly ids: number; readonly sizeBytes: number } {
    const sizes = this.#filters.map(({ size }) => size);
    return {
      ids: sizes.reduce((sum, { ids }) => sum + ids, 0),
      sizeBytes: sizes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    };
  }

  /** Whether that of every partition is. */
  get isTrusted(): boolean {
    return this.#filters.every(({ isTrusted }) => isTrusted);
  }

  lacks(id: string): boolean {
    return this.#of(id).lacks(id);
  }

  async proof(ids: readonly string[]): Promise<(id: string) => boolean> {
    const filters = [...new Set(ids.map((id) => this.#of(id)))];
    const proofs = await Promise.all(filters.map((filter) => filter.proof()));
    const byFilter = new Map(filters.map((filter, i) => [filter, proofs[i] as (id: string) => boolean]));
    return (id) => byFilter.get(this.#of(id))?.(id) === true;
  }

  async provenAbsent(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const candidates = ids.filter((id) => this.lacks(id));
    if (candidates.length === 0) return new Set();
    const isAbsent = await this.proof(candidates);
    return new Set(candidates.filter(isAbsent));
  }

  close(): void {
    for (const filter of this.#filters) filter.close();
  }

  #of(id: string): TrustedFilter {
    return this.#filters[this.#lanes.of(id)] as TrustedFilter;
  }
}
