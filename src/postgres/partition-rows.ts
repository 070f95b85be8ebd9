import { pipeline } from 'node:stream/promises';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { HashRange } from '../lanes.ts';
import { LEAVES } from '../merkle/digest.ts';
import { deltaOf, NOT_EMPTY, SUM_OF_NODES } from './merkle-delta.ts';
import type { Pool, Queryable } from './pool.ts';

/** The places in the hash tree that a partition covers, first and last. */
export type PartitionHashes = NonNullable<HashRange>;

/**
 * Neighbours in the hash tree that are copied or deleted in one transaction: the rows of one week (0: live rows) from one place
 * up to another.
 */
interface Slice {
  readonly week: number;
  readonly from: number;
  readonly to: number;
}

/** How far a walk over the rows of a partition has come: all of `week` below `from`, and all weeks before. */
type SlicePlace = Omit<Slice, 'to'>;

const SLICE_ROWS = 5000;
/** Stored bytes, as compressed, after which a slice ends. */
const SLICE_BYTES = 8 * 1024 * 1024;

export function firstPlace({ first }: PartitionHashes): SlicePlace {
  return { week: 0, from: first };
}

export function placeAfter({ week, to }: Omit<Slice, 'from'>): SlicePlace {
  return { week, from: to + 1 };
}

/**
 * The next slice that has rows, in the order of the index by week and place. Undefined at the end of the partition. Rows at one
 * place are always in one slice.
 */
export async function nextSlice(
  db: Queryable,
  hashes: PartitionHashes,
  { week, from }: SlicePlace,
): Promise<Slice | undefined> {
  const to = await endOfSlice(db, week, from, hashes.last);
  if (to !== undefined) return { week, from, to };
  const { rows } = await db.query<{ week: number | null }>(
    'SELECT min(tombstone_week) AS week FROM items WHERE tombstone_week > $1',
    [week],
  );
  const next = rows[0]?.week ?? undefined;
  return next === undefined ? undefined : nextSlice(db, hashes, { week: next, from: hashes.first });
}

/**
 * How far a copy has come, by the rows that are there: slices are copied in order, each as a whole.
 * @param db the database that is copied to
 */
export async function reachedPlace(db: Queryable, hashes: PartitionHashes): Promise<SlicePlace> {
  const { rows } = await db.query<{ week: number; to: number }>(
    `WITH RECURSIVE weeks AS (
       SELECT max(tombstone_week) AS week FROM items
       UNION ALL
       SELECT (SELECT max(tombstone_week) FROM items WHERE tombstone_week < week) FROM weeks WHERE week IS NOT NULL)
     SELECT week, last.to FROM weeks,
       LATERAL (SELECT max(id_hash) AS to FROM items WHERE tombstone_week = week AND id_hash BETWEEN $1 AND $2) last
     WHERE last.to IS NOT NULL ORDER BY week DESC LIMIT 1`,
    [hashes.first, hashes.last],
  );
  const [last] = rows;
  return last === undefined ? firstPlace(hashes) : placeAfter(last);
}

async function endOfSlice(
  db: Queryable,
  week: number,
  from: number,
  last: number,
): Promise<number | undefined> {
  const { rows } = await db.query<{ to: number | null }>({
    name: 'tierline-slice',
    text: `SELECT max(id_hash) AS to FROM (
             SELECT id_hash, coalesce(sum(bytes) OVER (ORDER BY id_hash ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
             FROM (SELECT id_hash, coalesce(pg_column_size(content), pg_column_size(content_bytes), 0) AS bytes
                   FROM items WHERE tombstone_week = $1 AND id_hash BETWEEN $2 AND $3 ORDER BY id_hash LIMIT ${SLICE_ROWS}) next) sums
           WHERE before < ${SLICE_BYTES}`,
    values: [week, from, last],
  });
  return rows[0]?.to ?? undefined;
}

function isInSlice({ week, from, to }: Slice): string {
  // COPY takes no parameters. These are numbers that the index gave.
  return `tombstone_week = ${week} AND id_hash BETWEEN ${from} AND ${to}`;
}

/** A delta is one row of `merkle_delta`, whose leaves and prefixes are the slice's own. */
const ADD_SLICE = (slice: Slice) => `
WITH added AS (SELECT id, id_hash, tombstone_week, 1 AS item_count, digest_hi, digest_lo FROM items WHERE ${isInSlice(slice)}),
${deltaOf('added', true)}
SELECT count(*)::int AS rows FROM added`;

const REMOVE_SLICE = (slice: Slice) => `
WITH removed AS (DELETE FROM items WHERE ${isInSlice(slice)} RETURNING id, id_hash, tombstone_week, -1 AS item_count, digest_hi, digest_lo),
${deltaOf('removed', true)}
SELECT count(*)::int AS rows FROM removed`;

/**
 * Copies the rows of a slice as they are, with the Merkle delta that they make.
 * @param target inside a transaction; it has no row of the slice
 * @returns how many
 */
export async function copySlice(source: Pool, target: Queryable, slice: Slice): Promise<number> {
  const columns = await columnsOf(target);
  const query = `SELECT ${columns} FROM items WHERE ${isInSlice(slice)}`;
  await copyBetween(source, query, target, `items (${columns})`);
  return rowsOf(await target.query<{ rows: number }>(ADD_SLICE(slice)));
}

/** Deletes the rows of a slice, with the Merkle delta that they leave. @returns how many */
export async function removeSlice(db: Queryable, slice: Slice): Promise<number> {
  return rowsOf(await db.query<{ rows: number }>(REMOVE_SLICE(slice)));
}

function rowsOf({ rows }: { readonly rows: readonly { readonly rows: number }[] }): number {
  return rows[0]?.rows ?? 0;
}

/** By name: two databases may have the columns in another order. */
async function columnsOf(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ columns: string }>(
    `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns FROM pg_attribute
     WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped`,
  );
  return rows[0]?.columns ?? '';
}

/** The subtree of a partition: its live items, and its tombstones by their weeks. */
interface PartitionNode {
  /** Live items. */
  readonly items: number;
  readonly tombstones: number;
  /** One node a week, live items first, those without rows left out. */
  readonly weeks: readonly { readonly week: number; readonly count: number; readonly digest: string }[];
}

/** As the tree has it, waiting deltas included; one snapshot. */
export async function partitionNode(db: Queryable, { first, last }: PartitionHashes): Promise<PartitionNode> {
  const { rows: weeks } = await db.query<PartitionNode['weeks'][number]>(
    `SELECT leaf >> 16 AS week, item_count AS count, encode(int8send(digest_hi) || int8send(digest_lo), 'hex') AS digest
     FROM (SELECT (leaf >> 16) << 16 AS leaf, ${SUM_OF_NODES} FROM merkle_leaf_now
           WHERE leaf & ${LEAVES - 1} BETWEEN $1 AND $2 GROUP BY 1 ${NOT_EMPTY}) sums ORDER BY 1`,
    [first >> 15, last >> 15],
  );
  const items = weeks.find(({ week }) => week === 0)?.count ?? 0;
  const all = weeks.reduce((sum, { count }) => sum + count, 0);
  return { items, tombstones: all - items, weeks };
}

/**
 * Streams rows from one database into a table of another, in binary form: nothing is parsed here, and a few packets are in
 * memory.
 * @param query a SELECT without parameters
 * @param into the table and its columns
 * @param target inside a transaction
 */
async function copyBetween(source: Pool, query: string, target: Queryable, into: string): Promise<void> {
  const connection = await source.connect();
  let broken: Error | undefined;
  const onLost = (error: Error) => {
    broken = error;
  };
  connection.on('error', onLost);
  try {
    await pipeline(
      connection.query(copyTo(`COPY (${query}) TO STDOUT (FORMAT binary)`)),
      target.query(copyFrom(`COPY ${into} FROM STDIN (FORMAT binary)`)),
    );
  } catch (error) {
    // The rest of the rows is on its way and nobody reads it, so the connection cannot be used again.
    broken = error instanceof Error ? error : new Error(String(error));
    throw error;
  } finally {
    connection.off('error', onLost);
    connection.release(broken);
  }
}
