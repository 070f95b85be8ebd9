import { UNWRITTEN, type Stamp } from '../clock.ts';
import type { Row } from '../batch/fold.ts';
import { keyHash } from '../merkle/digest.ts';
import { isTie } from '../schema/register-order.ts';
import { boolArray, byteaArray, digestHalfArray, int4Array, int8Array, textArray } from './arrays.ts';
import { withMerkleDelta } from './merkle-delta.ts';
import type { Queryable } from './pool.ts';

/** A row as Postgres has it now. */
export interface RowNow {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly state: string;
  readonly deleted: boolean;
  /** Hex; '' when deleted. */
  readonly contentHash: string;
}

type Register = 'content' | 'state';
/** Whether the given register wins, as SQL. */
type Wins = Readonly<Record<Register, string>>;

/** An equal stamp counts as older. So rows without ties, which are all but a few, pay nothing for the rule on them. */
const BY_STAMP: Wins = {
  content: 'EXCLUDED.content_version > t.content_version',
  state: 'EXCLUDED.state_version > t.state_version',
};
/** The whole rule of `schema/register-order.ts`. */
const BY_VALUE: Wins = {
  content: `(${BY_STAMP.content} OR (EXCLUDED.content_version = t.content_version AND NOT t.deleted
    AND (EXCLUDED.deleted OR EXCLUDED.content_hash > t.content_hash)))`,
  state: `(${BY_STAMP.state} OR (EXCLUDED.state_version = t.state_version AND EXCLUDED.state > t.state COLLATE "C"))`,
};

const CONTENT_COLUMNS = ['deleted', 'content', 'content_bytes', 'content_hash', 'trace_parent', 'durable'];
const HASH = "coalesce(encode(content_hash, 'hex'), '')";
/** A `RowTuple` of the columns of `withMerkleDelta`. */
export const ROW_TUPLE = `json_build_array(id, content_version, state_version, state, deleted, ${HASH})`;

/**
 * Guarded upsert of both registers, and the batch's Merkle delta. The digest a row had before comes from the upsert itself
 * (`previous_…`). A CTE that reads it before the upsert misses rows that another batch inserts at the same time (290 wrong leaves
 * in 720 statements). Columns that no row of the batch uses are given as empty arrays, which unnest pads with NULL.
 */
function applyStatement(wins: Wins): string {
  /** An expression of the row's columns, in whichever row has the newer register: the given one or the stored one. */
  const newest = (register: Register, of: (row: string) => string) =>
    `CASE WHEN ${wins[register]} THEN ${of('EXCLUDED')} ELSE ${of('t')} END`;
  const newestColumn = (register: Register, column: string) => newest(register, (row) => `${row}.${column}`);
  /** Half a row's digest. XOR with the state's share leaves the content's share. */
  const newestDigest = (half: 'hi' | 'lo') =>
    `${newest('content', (row) => `${row}.digest_${half} # ${row}.state_digest_${half}`)} # ${newestColumn('state', `state_digest_${half}`)}`;
  return withMerkleDelta(
    `
  INSERT INTO items AS t (id, content_version, deleted, durable, content, content_bytes, content_hash, state_version, state,
                          tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, trace_parent, batch_id)
  SELECT id, content_version, deleted, coalesce(durable, false), content, content_bytes, content_hash,
         coalesce(state_version, 0), coalesce(state, 'default'),
         tombstone_week_of(deleted, greatest(content_version, state_version)), id_hash,
         content_digest_hi # coalesce(state_digest_hi, 0), content_digest_lo # coalesce(state_digest_lo, 0),
         coalesce(state_digest_hi, 0), coalesce(state_digest_lo, 0), trace_parent, $16::uuid
  FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::boolean[], $5::json[], $6::bytea[], $7::bytea[], $8::bigint[],
              $9::text[], $10::int[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[])
       AS given (id, content_version, deleted, durable, content, content_bytes, content_hash, state_version,
                 state, id_hash, content_digest_hi, content_digest_lo, state_digest_hi, state_digest_lo, trace_parent)
  ON CONFLICT (id) DO UPDATE SET
    content_version = greatest(EXCLUDED.content_version, t.content_version),
    ${CONTENT_COLUMNS.map((column) => `${column} = ${newestColumn('content', column)}`).join(', ')},
    state_version = greatest(EXCLUDED.state_version, t.state_version),
    state = ${newestColumn('state', 'state')},
    tombstone_week = tombstone_week_of(${newestColumn('content', 'deleted')},
      greatest(EXCLUDED.content_version, t.content_version, EXCLUDED.state_version, t.state_version)),
    digest_hi = ${newestDigest('hi')}, digest_lo = ${newestDigest('lo')},
    state_digest_hi = ${newestColumn('state', 'state_digest_hi')}, state_digest_lo = ${newestColumn('state', 'state_digest_lo')},
    batch_id = EXCLUDED.batch_id, updated_at = now(),
    previous_week = t.tombstone_week, previous_digest_hi = t.digest_hi, previous_digest_lo = t.digest_lo
  WHERE ${wins.content} OR ${wins.state}`,
    `SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM written WHERE previous_week IS NULL) AS inserted,
     (SELECT coalesce(json_agg(${ROW_TUPLE}), '[]')
      FROM written WHERE state_version > 0) AS stateful`,
  );
}

const APPLY = applyStatement(BY_STAMP);
const APPLY_TIES = applyStatement(BY_VALUE);

/** A `RowNow` as statements return it in JSON. */
export type RowTuple = [
  id: string,
  contentVersion: Stamp,
  stateVersion: Stamp,
  state: string,
  deleted: boolean,
  contentHash: string,
];

export function rowOfTuple([
  id,
  contentVersion,
  stateVersion,
  state,
  deleted,
  contentHash,
]: RowTuple): RowNow {
  return { id, contentVersion, stateVersion, state, deleted, contentHash };
}

export interface Applied {
  /** By id, rows that now differ from what the batch says: they were newer already, or have a register of another batch. */
  readonly differing: ReadonlyMap<string, RowNow>;
  /**
   * Rows in which an equal stamp may have been decided by the values. Readers that hold the stamp must be told which value won.
   */
  readonly decided: ReadonlyMap<string, RowNow>;
  /** No row of the batch was there before. */
  readonly allNew: boolean;
}

/** Of no rows. */
export const NONE_APPLIED: Applied = { differing: new Map(), decided: new Map(), allNew: true };

/** Writes folded, sorted rows. */
export async function applyRows(db: Queryable, rows: readonly Row[], batchId: string): Promise<Applied> {
  const reply = await db.query<{ written: number; inserted: number; stateful: RowTuple[] }>({
    name: 'tierline-apply',
    text: APPLY,
    values: parameters(rows, batchId),
  });
  const { written, inserted, stateful } = reply.rows[0] ?? { written: 0, inserted: 0, stateful: [] };
  const isWhole = written === rows.length;
  const found = isWhole ? stateful.map(rowOfTuple) : await rowsNow(db, rows, batchId);
  const now = byId(found);
  const decided = isWhole ? new Map<string, RowNow>() : repeated(rows, now);
  const tied = rows.filter((row) => {
    const other = now.get(row.id);
    return other !== undefined && isTie(row, other);
  });
  if (tied.length > 0) {
    await db.query({ name: 'tierline-apply-ties', text: APPLY_TIES, values: parameters(tied, batchId) });
    for (const row of await rowsNow(db, tied, batchId)) {
      now.set(row.id, row);
      decided.set(row.id, row);
    }
  }
  return { differing: differing(rows, now), decided, allNew: inserted === rows.length };
}

/**
 * Rows that have these very registers from before. This batch may be a repetition of one that decided a tie and was cut off
 * before it told.
 */
function repeated(rows: readonly Row[], now: ReadonlyMap<string, FoundRow>): Map<string, RowNow> {
  const found = new Map<string, RowNow>();
  for (const row of rows) {
    const other = now.get(row.id);
    if (other === undefined || other.isWritten === true) continue;
    const hasContent = row.contentVersion > 0 && row.contentVersion === other.contentVersion;
    const hasState = row.stateVersion > 0 && row.stateVersion === other.stateVersion;
    if (hasContent || hasState) found.set(row.id, other);
  }
  return found;
}

/** The rows as Postgres has them now, in place of what `applyRows` would say of them. */
export async function appliedNow(db: Queryable, rows: readonly Row[]): Promise<Applied> {
  const now = byId(await rowsNow(db, rows));
  return { differing: differing(rows, now), decided: new Map(now), allNew: false };
}

/** `isWritten`: by the batch that was asked about. */
interface FoundRow extends RowNow {
  readonly isWritten?: boolean;
}

/** The same rows as Postgres has them now. */
export async function rowsNow(
  db: Queryable,
  rows: readonly Pick<Row, 'id'>[],
  batchId: string | null = null,
): Promise<FoundRow[]> {
  const { rows: now } = await db.query<FoundRow>(
    `SELECT id, content_version AS "contentVersion", state_version AS "stateVersion", state, deleted, ${HASH} AS "contentHash",
       batch_id = $2::uuid AS "isWritten" FROM items WHERE id = ANY($1::text[])`,
    [textArray(rows.map((row) => row.id)), batchId],
  );
  return now;
}

function byId<T extends { readonly id: string }>(rows: readonly T[]): Map<string, T> {
  return new Map(rows.map((row) => [row.id, row]));
}

function differing(rows: readonly Row[], now: ReadonlyMap<string, RowNow>): Map<string, RowNow> {
  const others = new Map(now);
  for (const row of rows) {
    const found = others.get(row.id);
    if (
      found?.contentVersion === row.contentVersion &&
      found.stateVersion === row.stateVersion &&
      !isTie(row, found)
    ) {
      others.delete(row.id);
    }
  }
  return others;
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
    boolArray(hasDurable ? rows.map((row) => row.tiers === 'durable') : []),
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
  ];
}
