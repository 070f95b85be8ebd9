import type { Client } from 'pg';
import { SchemaMissingError } from '../errors.ts';
import { type ShardMap, storedMapSchema } from '../shard-map.ts';
import { inTransaction, type Pool, type Queryable, readL3, timed } from './pool.ts';

/** What one database knows of the whole deployment. */
export interface DeploymentRow {
  /** Random, made by the first migration; all shards of a deployment have the same. */
  readonly id: string;
  readonly partitions: number;
  /** The name of this shard; undefined when the deployment never named its shards. */
  readonly shard: string | undefined;
  /** Undefined with `shard`: then this database has everything. */
  readonly map: ShardMap | undefined;
}

interface StoredRow {
  readonly id: string;
  readonly partitions: number;
  readonly shard: string | null;
  readonly map: unknown;
  readonly version: number;
}

/** The columns that `deploymentOf` reads. */
export const DEPLOYMENT_COLUMNS =
  'deployment_id AS id, partitions, shard_name AS shard, shard_map AS map, map_version AS version';

/** @throws TierUnavailableError, SchemaMissingError */
export async function readDeployment(db: Queryable, timeoutMs?: number): Promise<DeploymentRow> {
  const text = `SELECT ${DEPLOYMENT_COLUMNS} FROM deployment`;
  const { rows } = await readL3(() =>
    db.query<StoredRow>(timed({ name: 'tierline-deployment', text, values: [], timeoutMs })),
  );
  return deploymentOf(rows[0]);
}

export function deploymentOf(row: StoredRow | undefined): DeploymentRow {
  if (row === undefined) {
    throw new SchemaMissingError(
      'The table `deployment` is empty. Restore its row, or migrate an empty database.',
    );
  }
  const { id, partitions, shard, map, version } = row;
  if (shard === null) return { id, partitions, shard: undefined, map: undefined };
  return { id, partitions, shard, map: { version, ...storedMapSchema.parse(map) } };
}

/** Stored filters end with it: each belongs to a partition as it was. @param map the shards of the new partitions */
export async function setPartitions(
  db: Queryable,
  partitions: number,
  map: ShardMap | undefined,
): Promise<void> {
  await db.query(
    `WITH gone AS (DELETE FROM filter_snapshots)
     UPDATE deployment SET partitions = $1, shard_map = coalesce($2::json, shard_map), map_version = coalesce($3, map_version)`,
    [partitions, map === undefined ? null : storedText(map), map?.version ?? null],
  );
}

/** Any fixed number: the advisory lock of the map of a shard. */
const MAP_LOCK = 7_409_134_023;

/**
 * For statements that keep the map from changing until their transaction ends. Share locks on a row never queue behind an update
 * that waits for the row, so on a busy shard the update would wait for ever. Advisory locks do queue.
 */
export const DEPLOYMENT_IN_TURN = `(SELECT pg_advisory_xact_lock_shared(${MAP_LOCK}), set_config('tierline.in_turn', '1', true) OFFSET 0) AS turn, deployment`;

/** Refuse what is written by a process that was started with one database and does not know of the others. */
export const REFUSE_OUT_OF_TURN = `
  CREATE OR REPLACE FUNCTION tierline_in_turn() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF current_setting('tierline.in_turn', true) IS DISTINCT FROM '1' THEN
      RAISE EXCEPTION 'this database is one of several shards: restart this process with TIERLINE_SHARDS' USING ERRCODE = 'TL001';
    END IF;
    RETURN NULL;
  END $$;
  CREATE OR REPLACE TRIGGER tierline_in_turn BEFORE INSERT ON merkle_delta EXECUTE FUNCTION tierline_in_turn();
  CREATE OR REPLACE TRIGGER tierline_in_turn BEFORE INSERT ON range_deletes EXECUTE FUNCTION tierline_in_turn()`;

/**
 * Writes a newer map into the row of one shard. Waits for the transactions that write rows there; those that begin later see the
 * new map.
 * @param version the one that it may replace; left out: any older one
 * @returns whether it was replaced
 */
export function storeMap(pool: Pool, map: ShardMap, version?: number): Promise<boolean> {
  return inTransaction(pool, async (db) => {
    await db.query('SELECT pg_advisory_xact_lock($1)', [MAP_LOCK]);
    const { rowCount } = await db.query(
      'UPDATE deployment SET shard_map = $1, map_version = $2 WHERE map_version BETWEEN $3 AND $4',
      [storedText(map), map.version, version ?? 0, version ?? map.version - 1],
    );
    return rowCount === 1;
  });
}

export function storedText({ shards, owners, move }: ShardMap): string {
  return JSON.stringify({ shards, owners, move });
}

/** The version of the map that this shard goes by. It is raised by every change, and never lowered. */
export async function mapVersion(db: Queryable, timeoutMs: number): Promise<number> {
  const { rows } = await db.query<{ version: number }>(
    timed({
      name: 'tierline-map-version',
      text: 'SELECT map_version AS version FROM deployment',
      values: [],
      timeoutMs,
    }),
  );
  return rows[0]?.version ?? 0;
}

/**
 * Whether this shard takes writes of the partition. The answer holds until the transaction ends, because a change of the map
 * waits for it.
 * @param db inside a transaction
 */
export async function takesWrites(db: Queryable, partition: number): Promise<boolean> {
  const { rows } = await db.query<{ takes: boolean | null }>({
    name: 'tierline-takes-writes',
    text: `SELECT shard_map -> 'owners' ->> $1::int = shard_name
             AND ((shard_map -> 'move' ->> 'partition')::int IS DISTINCT FROM $1::int
               OR shard_map -> 'move' ->> 'step' NOT IN ('copy', 'switch')) AS takes
           FROM ${DEPLOYMENT_IN_TURN} FOR SHARE OF deployment`,
    values: [partition],
  });
  return rows[0]?.takes === true;
}

/** Which rows of a database count: all of them, or those of the partitions that the shard has. */
export type RowScope = 'all' | 'own';

/** The list is made once a statement. */
const OWN = `ANY (ARRAY(
  SELECT place::int - 1 FROM deployment, json_array_elements_text(shard_map -> 'owners') WITH ORDINALITY AS o (owner, place)
  WHERE owner = shard_name))`;
const placed = (place: string, bits: number) =>
  `((${place}::bigint * (SELECT partitions FROM deployment)) >> ${bits})::int = ${OWN}`;

/**
 * Conditions on rows of `items`, and on leaves. With `own` they leave out what belongs to another partition: its rows are being
 * copied to this shard, or are being deleted after they were copied away.
 */
export const IN_SCOPE: Readonly<Record<RowScope, string>> = { all: '', own: ` AND ${placed('id_hash', 31)}` };
export const LEAF_IN_SCOPE: Readonly<Record<RowScope, string>> = {
  all: '',
  own: ` AND ${placed('(leaf & 65535)', 16)}`,
};
/**
 * The live rows that do not count, as a table. The prefixes of the Merkle tree hold them, so they are taken off. Usually there are
 * none, and each range costs a look into an index.
 */
export const OTHERS_ROWS = `(SELECT id, digest_hi, digest_lo FROM (
    SELECT ((place - 1) * (2147483648 / partitions))::int AS first_hash, (place * (2147483648 / partitions) - 1)::int AS last_hash
    FROM deployment, json_array_elements_text(shard_map -> 'owners') WITH ORDINALITY AS o (owner, place)
    WHERE owner <> shard_name) others, items
  WHERE tombstone_week = 0 AND id_hash >= first_hash AND id_hash <= last_hash) others_rows`;

/** Tells databases apart, whatever URLs lead to them. */
export async function databaseIdentity(db: Pick<Client, 'query'>): Promise<string> {
  const { rows } = await db.query<{ identity: string }>(
    `SELECT (SELECT system_identifier FROM pg_control_system()) || '.' || oid AS identity FROM pg_database WHERE datname = current_database()`,
  );
  return rows[0]?.identity ?? '';
}

/** When this deployment was last equal to another one, in milliseconds since 1970. @throws TierUnavailableError, SchemaMissingError */
export async function lastEqualAt(db: Queryable, deployment: string): Promise<number | undefined> {
  const { rows } = await readL3(() =>
    db.query<{ at: number }>(
      'SELECT (extract(epoch FROM equal_at) * 1000)::bigint AS at FROM peers WHERE deployment_id = $1::uuid',
      [deployment],
    ),
  );
  return rows[0]?.at;
}

/** @throws as `lastEqualAt` */
export async function noteEqual(db: Queryable, deployment: string): Promise<void> {
  await readL3(() =>
    db.query(
      `INSERT INTO peers (deployment_id) VALUES ($1::uuid)
       ON CONFLICT (deployment_id) DO UPDATE SET equal_at = greatest(peers.equal_at, now())`,
      [deployment],
    ),
  );
}
