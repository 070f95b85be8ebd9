import type { CopyFigures } from '../redis/copies.ts';

/** Hears how the chores go; it must not throw. */
export interface ChoreObserver {
  /** @param ms how long it took. */
  choreEnded(chore: string, ms: number, failed: boolean): void;
  /** A page of L2 copies was compared with their rows. */
  copiesCompared(figures: CopyFigures): void;
}

export const UNOBSERVED_CHORES: ChoreObserver = {
  choreEnded: () => undefined,
  copiesCompared: () => undefined,
};
