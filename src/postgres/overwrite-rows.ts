import type { Stamp } from '../clock.ts';
import type { Row } from '../batch/fold.ts';
import type { Digest } from '../merkle/digest.ts';
import { type RowNow, rowOfTuple, rowsNow, type RowTuple } from './apply-batch.ts';
import { digestHalfArray, textArray } from './arrays.ts';
import { MERKLE_DELTA_OF_UP } from './merkle-delta.ts';
import type { Queryable } from './pool.ts';

const CONTENT_OLDER = '(t.content_version > 0 AND t.content_version < $1)';
const STATE_OLDER = '(t.state_version > 0 AND t.state_version < $1)';

/**
 * Overwrites the registers of existing rows that are older than one stamp, as if deleted at it, and appends the
 * batch's Merkle delta; one statement. An UPDATE of rows known to be there took half of what the guarded upsert of
 * the same rows does.
 */
const OVERWRITE = `
WITH up AS (
  UPDATE items AS t SET
    content_version = CASE WHEN ${CONTENT_OLDER} THEN $1 ELSE t.content_version END,
    deleted = t.deleted OR ${CONTENT_OLDER},
    content = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content END,
    content_bytes = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content_bytes END,
    content_hash = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content_hash END,
    trace_parent = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.trace_parent END,
    state_version = CASE WHEN ${STATE_OLDER} THEN $1 ELSE t.state_version END,
    state = CASE WHEN ${STATE_OLDER} THEN 'default' ELSE t.state END,
    gen = item_gen(t.deleted OR ${CONTENT_OLDER}, greatest($1, t.content_version, t.state_version)),
    x0 = CASE WHEN ${CONTENT_OLDER} THEN i.c0 ELSE t.x0 # t.s0 END # CASE WHEN ${STATE_OLDER} THEN i.s0 ELSE t.s0 END,
    x1 = CASE WHEN ${CONTENT_OLDER} THEN i.c1 ELSE t.x1 # t.s1 END # CASE WHEN ${STATE_OLDER} THEN i.s1 ELSE t.s1 END,
    s0 = CASE WHEN ${STATE_OLDER} THEN i.s0 ELSE t.s0 END,
    s1 = CASE WHEN ${STATE_OLDER} THEN i.s1 ELSE t.s1 END,
    batch_id = $7::uuid, updated_at = now(), pgen = t.gen, p0 = t.x0, p1 = t.x1
  FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) i(id, c0, c1, s0, s1)
  WHERE t.id = i.id AND (${CONTENT_OLDER} OR ${STATE_OLDER})
  RETURNING t.id, t.content_version, t.state_version, t.state, t.deleted, t.kh, t.gen, t.x0, t.x1, t.pgen, t.p0, t.p1),
${MERKLE_DELTA_OF_UP}
SELECT (SELECT count(*) FROM up) AS written, (SELECT count(*) FROM up WHERE pgen = 0 AND gen > 0) AS died,
  (SELECT coalesce(json_agg(json_build_array(id, content_version, state_version, state, deleted)), '[]')
   FROM up WHERE content_version <> $1 OR state_version > 0) AS otherwise`;

export interface Overwritten {
  /** Live items that this made tombstones. */
  readonly died: number;
  /** Rows that are now anything but a tombstone of the stamp whose state was never written. */
  readonly otherwise: ReadonlyMap<string, RowNow>;
  /** Some rows carried nothing older any more and were left alone: every row stands in `otherwise`. */
  readonly partly: boolean;
}

/** @param rows by id, each once, with the digest of the content register as deleted at `stamp`. */
export async function overwriteRows(
  db: Queryable,
  rows: readonly Row[],
  stateDigests: readonly Digest[],
  stamp: Stamp,
  batchId: string,
): Promise<Overwritten> {
  const contentDigests = rows.map((row) => row.contentDigest);
  const { rows: replies } = await db.query<{ written: number; died: number; otherwise: RowTuple[] }>({
    name: 'tierline-overwrite',
    text: OVERWRITE,
    values: [
      stamp,
      textArray(rows.map((row) => row.id)),
      digestHalfArray(contentDigests, 'first'),
      digestHalfArray(contentDigests, 'last'),
      digestHalfArray(stateDigests, 'first'),
      digestHalfArray(stateDigests, 'last'),
      batchId,
    ],
  });
  const { written, died, otherwise } = replies[0] ?? { written: 0, died: 0, otherwise: [] };
  const partly = written !== rows.length;
  const now = partly ? await rowsNow(db, rows) : otherwise.map(rowOfTuple);
  return { died, partly, otherwise: new Map(now.map((row) => [row.id, row])) };
}
