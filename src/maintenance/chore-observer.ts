/** Hears how the chores go; it must not throw. */
export interface ChoreObserver {
  /** @param ms how long it took. */
  choreEnded(chore: string, ms: number, failed: boolean): void;
}

export const UNOBSERVED_CHORES: ChoreObserver = { choreEnded: () => undefined };
