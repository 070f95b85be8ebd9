import { UNWRITTEN, type Stamp } from '../clock.ts';
import type { Row } from '../batch/fold.ts';
import { keyHash } from '../merkle/digest.ts';
import { boolArray, byteaArray, digestHalfArray, int4Array, int8Array, textArray } from './arrays.ts';
import { MERKLE_DELTA_OF_UP } from './merkle-delta.ts';
import type { Queryable } from './pool.ts';

/** A row as Postgres has it now, where that differs from what the batch alone says. */
export interface RowNow {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly state: string;
  readonly deleted: boolean;
}

/**
 * Guarded upsert of both registers and the batch's Merkle delta, one statement (design: "Merkle tables").
 * The digest a row had before is taken from the upsert itself (pgen, p0, p1): read in a CTE before it, racing first
 * inserts are missed (290 wrong leaves in 720 statements).
 * Columns that no row of the batch uses are empty arrays, which unnest pads with NULL.
 */
const APPLY = `
WITH up AS (
  INSERT INTO items AS t (id, content_version, deleted, content, content_bytes, content_hash, state_version, state, gen, kh,
                          x0, x1, s0, s1, trace_parent, durable, batch_id)
  SELECT id, cv, del, body, bytes, hash, coalesce(sv, 0), coalesce(state, 'default'), item_gen(del, greatest(cv, sv)), kh,
         c0 # coalesce(s0, 0), c1 # coalesce(s1, 0), coalesce(s0, 0), coalesce(s1, 0), trace, coalesce(durable, false), $15::uuid
  FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::json[], $5::bytea[], $6::bytea[], $7::bigint[], $8::text[], $9::int[],
              $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $16::boolean[])
       i(id, cv, del, body, bytes, hash, sv, state, kh, c0, c1, s0, s1, trace, durable)
  ON CONFLICT (id) DO UPDATE SET
    content_version = greatest(EXCLUDED.content_version, t.content_version),
    deleted = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.deleted ELSE t.deleted END,
    content = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.content ELSE t.content END,
    content_bytes = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.content_bytes ELSE t.content_bytes END,
    content_hash = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.content_hash ELSE t.content_hash END,
    trace_parent = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.trace_parent ELSE t.trace_parent END,
    durable = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.durable ELSE t.durable END,
    state_version = greatest(EXCLUDED.state_version, t.state_version),
    state = CASE WHEN EXCLUDED.state_version > t.state_version THEN EXCLUDED.state ELSE t.state END,
    gen = item_gen(CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.deleted ELSE t.deleted END,
                   greatest(EXCLUDED.content_version, t.content_version, EXCLUDED.state_version, t.state_version)),
    x0 = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.x0 # EXCLUDED.s0 ELSE t.x0 # t.s0 END
       # CASE WHEN EXCLUDED.state_version > t.state_version THEN EXCLUDED.s0 ELSE t.s0 END,
    x1 = CASE WHEN EXCLUDED.content_version > t.content_version THEN EXCLUDED.x1 # EXCLUDED.s1 ELSE t.x1 # t.s1 END
       # CASE WHEN EXCLUDED.state_version > t.state_version THEN EXCLUDED.s1 ELSE t.s1 END,
    s0 = CASE WHEN EXCLUDED.state_version > t.state_version THEN EXCLUDED.s0 ELSE t.s0 END,
    s1 = CASE WHEN EXCLUDED.state_version > t.state_version THEN EXCLUDED.s1 ELSE t.s1 END,
    batch_id = EXCLUDED.batch_id, updated_at = now(), pgen = t.gen, p0 = t.x0, p1 = t.x1
  WHERE EXCLUDED.content_version > t.content_version OR EXCLUDED.state_version > t.state_version
  RETURNING t.id, t.content_version, t.state_version, t.state, t.deleted, t.kh, t.gen, t.x0, t.x1, t.pgen, t.p0, t.p1),${MERKLE_DELTA_OF_UP}
SELECT (SELECT count(*) FROM up) AS written, (SELECT count(*) FROM up WHERE pgen IS NULL) AS inserted,
  (SELECT coalesce(json_agg(json_build_array(id, content_version, state_version, state, deleted)), '[]')
   FROM up WHERE state_version > 0) AS stateful`;

/** A `RowNow` as statements return it in JSON. */
export type RowTuple = [
  id: string,
  contentVersion: Stamp,
  stateVersion: Stamp,
  state: string,
  deleted: boolean,
];

export function rowOfTuple([id, contentVersion, stateVersion, state, deleted]: RowTuple): RowNow {
  return { id, contentVersion, stateVersion, state, deleted };
}

export interface Applied {
  /** Rows that are not simply what the batch says, by id: older than what was there, or carrying a register of another batch. */
  readonly differing: ReadonlyMap<string, RowNow>;
  /** No row of the batch was there before. */
  readonly allNew: boolean;
}

/** Writes folded, sorted rows. */
export async function applyRows(db: Queryable, rows: readonly Row[], batchId: string): Promise<Applied> {
  const reply = await db.query<{ written: number; inserted: number; stateful: RowTuple[] }>({
    name: 'tierline-apply',
    text: APPLY,
    values: parameters(rows, batchId),
  });
  const { written, inserted, stateful } = reply.rows[0] ?? { written: 0, inserted: 0, stateful: [] };
  return {
    differing:
      written === rows.length ? differing(rows, stateful.map(rowOfTuple)) : await differingRows(db, rows),
    allNew: inserted === rows.length,
  };
}

/** Rows that stand otherwise than `rows` say, by id; asked of Postgres. */
export async function differingRows(db: Queryable, rows: readonly Row[]): Promise<Map<string, RowNow>> {
  return differing(rows, await rowsNow(db, rows));
}

/** The same rows as Postgres has them now. */
export async function rowsNow(db: Queryable, rows: readonly Pick<Row, 'id'>[]): Promise<RowNow[]> {
  const { rows: now } = await db.query<RowNow>(
    `SELECT id, content_version AS "contentVersion", state_version AS "stateVersion", state, deleted FROM items WHERE id = ANY($1::text[])`,
    [textArray(rows.map((row) => row.id))],
  );
  return now;
}

function differing(rows: readonly Row[], now: readonly RowNow[]): Map<string, RowNow> {
  const byId = new Map(now.map((row) => [row.id, row]));
  for (const row of rows) {
    const found = byId.get(row.id);
    if (found?.contentVersion === row.contentVersion && found.stateVersion === row.stateVersion)
      byId.delete(row.id);
  }
  return byId;
}

function parameters(rows: readonly Row[], batchId: string): unknown[] {
  const hasJson = rows.some((row) => !row.binary && !row.deleted);
  const hasBinary = rows.some((row) => row.binary);
  const hasState = rows.some((row) => row.stateVersion !== UNWRITTEN);
  const hasDurable = rows.some((row) => row.tiers === 'durable');
  const hasTrace = rows.some((row) => row.traceParent !== null);
  const contentDigests = rows.map((row) => row.contentDigest);
  const stateDigests = hasState ? rows.map((row) => row.stateDigest) : [];
  return [
    textArray(rows.map((row) => row.id)),
    int8Array(rows.map((row) => row.contentVersion)),
    boolArray(rows.map((row) => row.deleted)),
    textArray(hasJson ? rows.map((row) => (row.deleted || row.binary ? null : row.body)) : [], 'json'),
    byteaArray(hasBinary ? rows.map((row) => (row.binary ? row.body : null)) : [], 'base64'),
    byteaArray(
      rows.map((row) => (row.deleted ? null : row.contentHash)),
      'hex',
    ),
    int8Array(hasState ? rows.map((row) => row.stateVersion) : []),
    textArray(hasState ? rows.map((row) => row.state) : []),
    int4Array(rows.map((row) => keyHash(row.id))),
    digestHalfArray(contentDigests, 'first'),
    digestHalfArray(contentDigests, 'last'),
    digestHalfArray(stateDigests, 'first'),
    digestHalfArray(stateDigests, 'last'),
    textArray(hasTrace ? rows.map((row) => row.traceParent) : []),
    batchId,
    boolArray(hasDurable ? rows.map((row) => row.tiers === 'durable') : []),
  ];
}
