import type { NewItem } from '../../src/types/write.ts';
import type { Place } from './place.ts';

/** Called by a worker with the number of items whose rows are committed and whose copies are in Redis. */
export type Stored = (items: number) => void;

/** A queue that brings writes to Postgres and Redis, as a team would set it up. */
export interface WritePeer {
  /** In the process of the service: makes what the queue needs, and hands writes in. */
  open(place: Place): Promise<Intake>;
  /** In a worker process: takes what was handed in until the process is ended. Resolves when it has begun. */
  consume(place: Place, stored: Stored): Promise<void>;
}

export interface Intake {
  /** Resolves when the queue has accepted all of them. */
  submit(items: readonly NewItem[]): Promise<unknown>;
  close(): Promise<unknown>;
}
