import type { Stamp } from '../clock.ts';
import type { Digest } from '../merkle/digest.ts';
import { textArray } from './arrays.ts';
import { type Queryable, readL3 } from './pool.ts';

/** What tells two versions of a row apart, without its content. */
export interface RowDigest {
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly deleted: boolean;
  readonly digest: Digest;
}

/**
 * Stamps and digests of the rows of `ids` by id, tombstones included. Ids without a row are left out.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function rowDigests(db: Queryable, ids: readonly string[]): Promise<Map<string, RowDigest>> {
  const { rows } = await readL3(() =>
    db.query<RowDigest & { id: string }>({
      name: 'tierline-row-digests',
      text: `SELECT id, content_version AS "contentVersion", state_version AS "stateVersion", deleted,
               encode(int8send(x0) || int8send(x1), 'hex') AS digest FROM items WHERE id = ANY($1::text[])`,
      values: [textArray(ids)],
    }),
  );
  return new Map(rows.map(({ id, ...row }) => [id, row]));
}
