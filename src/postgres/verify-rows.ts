import { type Digest, type DigestedRow, type Digester, keyHash, ZERO_DIGEST } from '../merkle/digest.ts';
import { UNWRITTEN } from '../clock.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import { type Queryable, readL3 } from './pool.ts';
import { DIGEST } from './read-items.ts';

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
