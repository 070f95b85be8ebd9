export interface BackendHealth {
  readonly ok: boolean;
  /** Milliseconds it took to answer. */
  readonly latencyMs?: number;
  /** Why it did not. */
  readonly error?: string;
}

/**
 * Whether a replica is read from: `used`, or why it is not. `away`: it does not answer in time. `behind`: it has not replayed
 * enough for any read. `no-replica`: it is no streaming replica (any more). `other-database`, `other-timeline`: it does not
 * follow the primary.
 */
export type ReplicaState = 'used' | 'away' | 'behind' | 'no-replica' | 'other-database' | 'other-timeline';

export interface ReplicaFigures {
  /** Protocol, host and port. */
  readonly server: string;
  readonly state: ReplicaState;
  /** Bytes of write-ahead log that it had not replayed when it was last asked; left out until it has answered. */
  readonly lagBytes?: number;
}

export interface Health {
  /**
   * `ok`: everything answers, replicas can be used, and the change feed is in sight. `degraded`: reads go on with less than that (docs/api.md says
   * which). `down`: neither L2 nor L3 can be asked.
   */
  readonly status: 'ok' | 'degraded' | 'down';
  /** Redis of the queue and the change feed. */
  readonly queue: BackendHealth;
  /** Redis of the L2 copies. */
  readonly cache: BackendHealth;
  readonly postgres: BackendHealth;
  /** Replicas of Postgres, as configured. One that lags is `ok`: `state` and `lagBytes` tell. */
  readonly replicas: readonly (BackendHealth & ReplicaFigures)[];
  readonly feed: { readonly live: boolean };
  readonly filter: { readonly trusted: boolean };
}
