import type { FeedPosition } from '../schema/feed.ts';
import type { Queryable } from './pool.ts';

export interface StoredSnapshot {
  /** The result of `encodeFilter`. */
  readonly filter: Buffer;
  readonly position: FeedPosition;
}

interface SnapshotRow {
  epoch: string;
  number: number;
  entry: string;
  filter: Buffer;
}

/** The newest snapshot of the membership filter of a partition. */
export async function readSnapshot(db: Queryable, partition: number): Promise<StoredSnapshot | undefined> {
  const { rows } = await db.query<SnapshotRow>(
    'SELECT feed_epoch AS epoch, feed_number AS number, feed_entry AS entry, filter FROM filter_snapshots WHERE partition = $1',
    [partition],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  return { filter: row.filter, position: { epoch: row.epoch, number: row.number, id: row.entry } };
}

/** Replaces the snapshot: there is only one of a partition. */
export async function writeSnapshot(
  db: Queryable,
  partition: number,
  position: FeedPosition,
  ids: number,
  filter: Buffer,
): Promise<void> {
  await db.query(
    `INSERT INTO filter_snapshots (feed_epoch, feed_number, feed_entry, ids, filter, partition) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (partition) DO UPDATE SET feed_epoch = EXCLUDED.feed_epoch, feed_number = EXCLUDED.feed_number,
       feed_entry = EXCLUDED.feed_entry, ids = EXCLUDED.ids, filter = EXCLUDED.filter, written_at = now()`,
    [position.epoch, position.number, position.id, ids, filter, partition],
  );
}
