import pg from 'pg';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';
import { type Pool, type Queryable, timed } from './pool.ts';
import { HEADS_OF, type ItemRow, ROWS_OF, toStored } from './read-items.ts';

/** A place in the history of one database. */
export interface WalPlace {
  /** Tells the database apart from every other; a streaming replica has that of its primary. */
  readonly database: string;
  /** Every promotion of a replica begins another timeline. Positions of two timelines cannot be compared. */
  readonly timeline: number;
  /** Bytes of write-ahead log before this place. */
  readonly lsn: bigint;
}

/** What a replica said of itself. `isReplica` is false after a promotion. */
export interface ReplicaPlace extends WalPlace {
  readonly isReplica: boolean;
}

const DATABASE = `(SELECT system_identifier FROM pg_control_system()) || '.' ||
  (SELECT oid FROM pg_database WHERE datname = current_database()) || '.' || 'items'::regclass::oid`;

/**
 * Where the next record goes, less the header that a new page or file begins with: a replica that has replayed everything
 * stands before that header.
 */
const PRIMARY_PLACE = `SELECT ${DATABASE} AS database, substr(file_name, 1, 8) AS timeline,
  (lsn - '0/0'::pg_lsn - CASE WHEN file_offset = 40 THEN 40 WHEN file_offset % current_setting('wal_block_size')::int = 24 THEN 24 ELSE 0 END)::text AS lsn
  FROM pg_current_wal_insert_lsn() AS lsn, pg_walfile_name_offset(lsn)`;

/**
 * The primary's place. Everything that was committed before this was called lies before it.
 * @param timeoutMs after which the question fails and its connection is given up
 */
export async function primaryPlace(db: Queryable, timeoutMs: number): Promise<WalPlace> {
  const { rows } = await db.query<{ database: string; timeline: string; lsn: string }>(
    timed({ name: 'tierline-wal-place', text: PRIMARY_PLACE, values: [], timeoutMs }),
  );
  const { database = '', timeline = '0', lsn = '0' } = rows[0] ?? {};
  return { database, timeline: Number.parseInt(timeline, 16), lsn: BigInt(lsn) };
}

/** The control file gets a new timeline a little after replay does, and never before. */
const REPLICA_PLACE = `SELECT pg_is_in_recovery(), ${DATABASE}, greatest(timeline_id, min_recovery_end_timeline),
  coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)::text FROM pg_control_checkpoint(), pg_control_recovery()`;

type PlaceRow = [isReplica: boolean, database: string, timeline: number, lsn: string];

export async function replicaPlace(pool: Pool, timeoutMs: number): Promise<ReplicaPlace> {
  const { rows } = await pool.query<PlaceRow>({
    rowMode: 'array',
    ...timed({ name: 'tierline-replay-place', text: REPLICA_PLACE, values: [], timeoutMs }),
  });
  return placeOf(rows[0]);
}

/** Rows of a replica, and the place that it had replayed up to before they were read. */
export interface ReplicaRows<T> {
  readonly place: ReplicaPlace;
  readonly rows: readonly T[];
}

/** As `readRows`, of a replica. */
export async function readReplicaRows(
  pool: Pool,
  ids: readonly string[],
  timeoutMs: number,
): Promise<ReplicaRows<StoredItem>> {
  const { place, rows } = await readAt<ItemRow>(pool, ROWS_OF, ids, timeoutMs);
  return { place, rows: rows.map(toStored) };
}

type HeadRow = [id: string, kind: StoredHead['kind'], contentVersion: number, stateVersion: number];

/** As `readHeads`, of a replica. */
export async function readReplicaHeads(
  pool: Pool,
  ids: readonly string[],
  timeoutMs: number,
): Promise<ReplicaRows<StoredHead & { readonly id: string }>> {
  const { place, rows } = await readAt<HeadRow>(pool, HEADS_OF, ids, timeoutMs);
  return {
    place,
    rows: rows.map(([id, kind, contentVersion, stateVersion]) => ({
      id,
      kind,
      contentVersion,
      stateVersion,
      tiers: 'all',
    })),
  };
}

/**
 * Reads the place first and then the rows, in one message. A single statement would not do: its snapshot is taken before its
 * functions run, so the place could be newer than the rows. `READ COMMITTED` gives the second statement a snapshot of its own,
 * whatever the defaults of the role are. Such a message takes no parameters, so the ids are in its text.
 */
async function readAt<R extends unknown[]>(
  pool: Pool,
  select: (ids: string) => string,
  ids: readonly string[],
  timeoutMs: number,
): Promise<ReplicaRows<R>> {
  const list = `${arrayLiteral(ids)}::text[]`;
  const text = `BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; ${REPLICA_PLACE}; ${select(list)}; COMMIT`;
  const query = { text, rowMode: 'array', query_timeout: timeoutMs } as const;
  // The driver's types do not know that several statements give several results.
  const results = (await pool.query(query)) as unknown as readonly pg.QueryArrayResult<unknown[]>[];
  return {
    place: placeOf(results[1]?.rows[0] as PlaceRow | undefined),
    rows: (results[2]?.rows ?? []) as R[],
  };
}

/** One literal, whatever the number of ids: `pg_stat_statements` then counts all these reads as one. */
function arrayLiteral(ids: readonly string[]): string {
  const elements = ids.map((id) => `"${id.replaceAll(/["\\]/g, '\\$&')}"`);
  return pg.escapeLiteral(`{${elements.join(',')}}`);
}

function placeOf(row: PlaceRow | undefined): ReplicaPlace {
  const [isReplica, database, timeline, lsn] = row ?? [false, '', 0, '0'];
  return { isReplica, database, timeline, lsn: BigInt(lsn) };
}
