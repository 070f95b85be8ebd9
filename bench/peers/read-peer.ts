import type { Deployment } from '../../test/helpers/deployment.ts';
import type { NewItem } from '../../src/types/write.ts';
import type { Place } from './place.ts';

/** Reads through process memory, Redis and Postgres. All keep what they have read in memory, and put into Redis what it lacked. */
export interface ReadPeer {
  open(place: Place, deployment: Deployment): Promise<PeerReader>;
}

/** Parsed contents, `undefined` for an id that is nowhere. */
export interface PeerReader {
  get(id: string): Promise<unknown>;
  /** In the order of the ids. */
  getMany(ids: readonly string[]): Promise<readonly unknown[]>;
  /** Puts copies into Redis, in the form in which this reader reads them. */
  fill(items: readonly NewItem[]): Promise<unknown>;
  close(): Promise<unknown>;
}

/** Items that a reader keeps in memory: more than the bench has, so that none is ever dropped. */
export const MAX_IN_MEMORY = 200_000;
