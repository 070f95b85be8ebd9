import { UNWRITTEN } from '../clock.ts';
import {
  type Digest,
  type DigestedRow,
  type Digester,
  keyHash,
  LEAVES,
  ZERO_DIGEST,
} from '../merkle/digest.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import type { MerkleVerification } from '../types/merkle.ts';
import {
  DELTA_LEAVES,
  DELTA_PARENTS,
  LEAF_OF_ROW,
  NOT_EMPTY,
  SUM_OF_NODES,
  SUM_OF_ROWS,
} from './merkle-delta.ts';
import { type Queryable, readL3 } from './pool.ts';
import { DIGEST } from './read-items.ts';

export type Difference = MerkleVerification['differences'][number];
/** A difference of the tree, and not of a row. */
type TreeDifference = Difference & { readonly kind: 'leaf' | 'path' | 'parent' | 'delta' };

interface TreeVerification {
  readonly ok: boolean;
  readonly differences: readonly TreeDifference[];
}

/** Nodes as the stored digests of the rows give them, and as the tree has them: (node, item_count, digest_hi, digest_lo). */
const leavesOfRows = (where: string) =>
  `SELECT (${LEAF_OF_ROW})::text AS node, ${SUM_OF_ROWS} FROM items WHERE ${where} GROUP BY 1`;
const leavesOfTree = (where: string) =>
  `SELECT leaf::text AS node, ${SUM_OF_NODES} FROM merkle_leaf_now WHERE ${where} GROUP BY 1 ${NOT_EMPTY}`;
const PATHS_OF_ROWS = `
  SELECT path AS node, ${SUM_OF_NODES}
  FROM (SELECT merkle_parent(id) AS parent, ${SUM_OF_ROWS} FROM items WHERE tombstone_week = 0 GROUP BY 1) live,
       merkle_ancestors(parent) AS path GROUP BY 1`;
const PATHS_OF_TREE = `SELECT path AS node, ${SUM_OF_NODES} FROM merkle_path_now GROUP BY 1 ${NOT_EMPTY}`;

/** Rows of (kind, node, rows, tree) where `want` and `have` differ, joined on `key`. */
const differences = (kind: string, key: string) => `
  SELECT ${kind} AS kind, node, coalesce(want.item_count, 0)::bigint AS rows, coalesce(have.item_count, 0)::bigint AS tree
  FROM want FULL JOIN have USING (${key})
  WHERE (want.item_count, want.digest_hi, want.digest_lo) IS DISTINCT FROM (have.item_count, have.digest_hi, have.digest_lo)`;

/**
 * Where the tree contradicts itself, whatever the rows say; columns as in `differences`.
 *
 * `parent`: a folded prefix whose `parent` is wrong, so `children` of the right parent leave its items out.
 * `delta`: a waiting batch whose change of the root is not the sum of its prefixes, or not that of its live leaves.
 */
const CONTRADICTIONS = `
SELECT 'parent' AS kind, path AS node, item_count AS rows, 0::bigint AS tree FROM merkle_path
WHERE parent IS DISTINCT FROM CASE WHEN path = '' THEN NULL ELSE merkle_parent(path) END
UNION ALL
SELECT 'delta', seq::text, paths.item_count, root_count FROM merkle_delta,
  LATERAL (SELECT coalesce(sum(item_count), 0)::bigint AS item_count, coalesce(bit_xor(digest_hi), 0) AS digest_hi,
             coalesce(bit_xor(digest_lo), 0) AS digest_lo FROM ${DELTA_PARENTS}) paths,
  LATERAL (SELECT coalesce(sum(item_count), 0)::bigint AS item_count, coalesce(bit_xor(digest_hi), 0) AS digest_hi,
             coalesce(bit_xor(digest_lo), 0) AS digest_lo FROM ${DELTA_LEAVES} WHERE leaf < ${LEAVES}) live_leaves
WHERE (root_count, root_digest_hi, root_digest_lo) IS DISTINCT FROM (paths.item_count, paths.digest_hi, paths.digest_lo)
   OR (root_count, root_digest_hi, root_digest_lo) IS DISTINCT FROM (live_leaves.item_count, live_leaves.digest_hi, live_leaves.digest_lo)`;

const MAX_DIFFERENCES = 1000;

const VERIFY = `
WITH want AS (SELECT 'leaf' AS kind, * FROM (${leavesOfRows('true')}) l UNION ALL SELECT 'path', * FROM (${PATHS_OF_ROWS}) p),
have AS (SELECT 'leaf' AS kind, * FROM (${leavesOfTree('true')}) l UNION ALL SELECT 'path', * FROM (${PATHS_OF_TREE}) p)
${differences('kind', 'kind, node')}
UNION ALL ${CONTRADICTIONS}
ORDER BY 1, 2 LIMIT ${MAX_DIFFERENCES}`;

/**
 * Compares the tree with the stored digests of the rows, and with itself. Reads every row, and no contents. It is one statement
 * and so one snapshot.
 */
export async function verifyMerkle(db: Queryable): Promise<TreeVerification> {
  const { rows } = await db.query<TreeDifference>(VERIFY);
  return { ok: rows.length === 0, differences: rows };
}

interface StepResult {
  /** Rows compared in this step. */
  readonly rows: number;
  readonly differences: readonly TreeDifference[];
}

const LIVE_STEPS = 16;
/** The live leaves in slices, then the leaves of tombstones, then the prefixes, then the tree against itself. */
export const VERIFY_STEPS = LIVE_STEPS + 3;
const MAX_STEP_DIFFERENCES = 100;

const compare = (kind: 'leaf' | 'path', want: string, have: string) => `
WITH want AS (${want}), have AS (${have})
SELECT (SELECT coalesce(sum(item_count), 0) FROM want)::bigint AS rows, coalesce((SELECT json_agg(d) FROM (
  ${differences(`'${kind}'`, 'node')} ORDER BY 2 LIMIT ${MAX_STEP_DIFFERENCES}) d), '[]') AS differences`;

/** Leaves $1 to $2 of the live tree. The rows of a leaf are neighbours in the index on (tombstone_week, id_hash). */
const LIVE_LEAVES = compare(
  'leaf',
  leavesOfRows('tombstone_week = 0 AND id_hash BETWEEN $1::bigint << 15 AND (($2::bigint + 1) << 15) - 1'),
  leavesOfTree('leaf BETWEEN $1 AND $2'),
);
const TOMBSTONE_LEAVES = compare(
  'leaf',
  leavesOfRows('tombstone_week > 0'),
  leavesOfTree(`leaf >= ${LEAVES}`),
);
const PATHS = compare('path', PATHS_OF_ROWS, PATHS_OF_TREE);
const SELF = `
SELECT 0 AS rows, coalesce(json_agg(d), '[]') AS differences
FROM (SELECT * FROM (${CONTRADICTIONS}) c ORDER BY kind, node LIMIT ${MAX_STEP_DIFFERENCES}) d`;

/**
 * The same comparison in steps, so the caller can show progress and others can work in between. Each step is one statement
 * and so one snapshot. The tree is true in every snapshot (I5), so the steps need not share one.
 * @param step 0 to `VERIFY_STEPS` - 1
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function verifyStep(db: Queryable, step: number): Promise<StepResult> {
  const slice = LEAVES / LIVE_STEPS;
  const { rows } = await readL3(() =>
    step < LIVE_STEPS
      ? db.query<StepResult>(LIVE_LEAVES, [step * slice, (step + 1) * slice - 1])
      : db.query<StepResult>([TOMBSTONE_LEAVES, PATHS, SELF][step - LIVE_STEPS] as string),
  );
  const { rows: compared, differences } = rows[0] ?? { rows: 0, differences: [] };
  // The prefixes read the live rows once more: do not count them again.
  return { rows: step > LIVE_STEPS ? 0 : compared, differences };
}

/**
 * What of a row is not as its writer left it. `content`: not what was hashed. `digest`: id, stamps, content hash and state are
 * not what the digests were made of. `place`: it stands at another place of the hash tree, or among the tombstones of another
 * week.
 */
export type RowFault = 'content' | 'digest' | 'place';

export interface RowsChecked {
  readonly rows: number;
  readonly faults: readonly { readonly id: string; readonly fault: RowFault }[];
  /** The last id that was checked; undefined at the end. */
  readonly last: string | undefined;
}

/** Rows of one statement. Their contents are hashed where they are and do not travel. */
const ROWS = 2000;

const CHECK = `
SELECT id, content_version AS "contentVersion", encode(content_hash, 'hex') AS "contentHash", state_version AS "stateVersion", state,
  ${DIGEST} AS digest, encode(int8send(state_digest_hi) || int8send(state_digest_lo), 'hex') AS "stateDigest",
  id_hash AS "idHash",
  tombstone_week = tombstone_week_of(deleted, greatest(content_version, state_version)) AS "inWeek",
  content_hash IS NOT DISTINCT FROM sha256(coalesce(convert_to(content::text, 'UTF8'), content_bytes)) AS "isHashed"
FROM items WHERE id > $1 ORDER BY id LIMIT ${ROWS}`;

interface CheckedRow extends DigestedRow {
  readonly digest: Digest;
  readonly stateDigest: Digest;
  readonly idHash: number;
  readonly inWeek: boolean;
  readonly isHashed: boolean;
}

/**
 * Makes hashes, digests and places of the next rows again and compares them with the stored ones, tombstones included.
 * @param after the id before the first row; '' for the beginning
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function verifyRows(db: Queryable, digester: Digester, after: string): Promise<RowsChecked> {
  const { rows } = await readL3(() =>
    db.query<CheckedRow>({ name: 'tierline-verify-rows', text: CHECK, values: [after] }),
  );
  const faults = rows.flatMap((row) => {
    const fault = faultOf(row, digester);
    return fault === undefined ? [] : [{ id: row.id, fault }];
  });
  return { rows: rows.length, faults, last: rows.length < ROWS ? undefined : rows.at(-1)?.id };
}

function faultOf(row: CheckedRow, digester: Digester): RowFault | undefined {
  const { id, contentVersion, contentHash, stateVersion, state } = row;
  if (!row.isHashed) return 'content';
  // A register without a stamp is in no digest.
  if (contentVersion === UNWRITTEN && contentHash !== null) return 'digest';
  if (stateVersion === UNWRITTEN && state !== DEFAULT_STATE) return 'digest';
  const stateDigest = stateVersion === UNWRITTEN ? ZERO_DIGEST : digester.state(id, stateVersion, state);
  if (row.digest !== digester.row(row) || row.stateDigest !== stateDigest) return 'digest';
  return row.idHash === keyHash(id) && row.inWeek ? undefined : 'place';
}
