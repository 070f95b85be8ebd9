export interface BackendHealth {
  readonly ok: boolean;
  /** Milliseconds it took to answer. */
  readonly latencyMs?: number;
  /** Why it did not. */
  readonly error?: string;
}

export interface Health {
  /**
   * `ok`: everything answers and the change feed is in sight. `degraded`: reads go on with less than that (docs/api.md says
   * which). `down`: neither L2 nor L3 can be asked.
   */
  readonly status: 'ok' | 'degraded' | 'down';
  /** Redis of the queue and the change feed. */
  readonly queue: BackendHealth;
  /** Redis of the L2 copies. */
  readonly cache: BackendHealth;
  readonly postgres: BackendHealth;
  readonly feed: { readonly live: boolean };
  readonly filter: { readonly trusted: boolean };
}
