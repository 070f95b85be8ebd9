import { MerkleKeyError } from '../errors.ts';
import { type Digest, type DigestedRow, Digester, SCHEME } from '../merkle/digest.ts';
import { type Queryable, readL3 } from './pool.ts';
import { DIGEST } from './read-items.ts';
import type { Shards } from './shards.ts';

/**
 * Two keys in one store give digests that never agree, and the tree does not show why. So the store keeps a check value of its
 * key. The first drain worker writes it, and every process compares.
 *
 * `unknown`: no worker has written yet.
 */
export type KeyMatch = 'same' | 'other' | 'unknown';

/** @throws TierUnavailableError, SchemaMissingError */
export async function matchMerkleKey(db: Queryable, key: string | undefined): Promise<KeyMatch> {
  const stored = await readMerkleKey(db);
  if (stored === undefined) return 'unknown';
  return stored.scheme === SCHEME && stored.check === new Digester(key).check() ? 'same' : 'other';
}

/**
 * Scheme and check value of the store's digests; of the given key while no worker has written yet.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function merkleKeyCheck(
  db: Queryable,
  key: string | undefined,
): Promise<{ readonly scheme: number; readonly keyCheck: Digest }> {
  const stored = await readMerkleKey(db);
  return stored === undefined
    ? { scheme: SCHEME, keyCheck: new Digester(key).check() }
    : { scheme: stored.scheme, keyCheck: stored.check };
}

async function readMerkleKey(
  db: Queryable,
): Promise<{ readonly scheme: number; readonly check: Digest } | undefined> {
  const { rows } = await readL3(() =>
    db.query<{ scheme: number; check: Digest }>('SELECT scheme, key_check AS check FROM merkle_key'),
  );
  return rows[0];
}

/** For processes that need the store's key. @throws MerkleKeyError, TierUnavailableError, SchemaMissingError */
export async function checkMerkleKey(db: Queryable, key: string | undefined): Promise<void> {
  if ((await matchMerkleKey(db, key)) === 'other') throw refusal(key);
}

/** For processes that compute no digests: they may have no key. @throws as `checkMerkleKey` */
export async function checkGivenMerkleKey(db: Queryable, key: string | undefined): Promise<void> {
  if (key !== undefined) await checkMerkleKey(db, key);
}

/**
 * For processes that compute digests. The first one writes the check value. If the store has rows but no check value, some of
 * the rows tell whether the key is right.
 * @throws as `checkMerkleKey`
 */
export async function claimMerkleKey(db: Queryable, key: string | undefined): Promise<void> {
  let match = await matchMerkleKey(db, key);
  if (match === 'unknown') {
    const digester = new Digester(key);
    if (!(await fitsRows(db, digester))) throw refusal(key);
    await readL3(() =>
      db.query('INSERT INTO merkle_key (scheme, key_check) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
        SCHEME,
        digester.check(),
      ]),
    );
    // Another worker may have been first, with another key.
    match = await matchMerkleKey(db, key);
  }
  if (match !== 'same') throw refusal(key);
}

/**
 * The same for all shards: a new one gets the key that the others have. One after another, by name: of two first workers with
 * different keys one is refused at the first shard. All at once each could win a shard, and then no worker could start any more.
 * @throws as `checkMerkleKey`
 */
export async function claimMerkleKeys(shards: Shards, key: string | undefined): Promise<void> {
  if (!shards.isOne) await shards.each(({ pool }) => checkMerkleKey(pool, key));
  for (const shard of shards.all.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    await shards.named(shard, () => claimMerkleKey(shard.pool, key));
  }
}

function refusal(key: string | undefined): MerkleKeyError {
  const given =
    key === undefined ? 'TIERLINE_MERKLE_KEY is not set' : 'TIERLINE_MERKLE_KEY has another value';
  return new MerkleKeyError(
    `The digests of this store were computed with another key: ${given} here. Start it with the key that the store's other workers have. A store keeps its key; to change it, write the items into an empty database.`,
  );
}

interface SampleRow extends DigestedRow {
  readonly digest: Digest;
}

/** More than one, because one row may be damaged. */
const SAMPLE_ROWS = 10;

/** One row that fits is enough; an empty store fits every key. */
async function fitsRows(db: Queryable, digester: Digester): Promise<boolean> {
  const { rows } = await readL3(() =>
    db.query<SampleRow>(
      `SELECT id, content_version AS "contentVersion", encode(content_hash, 'hex') AS "contentHash", state_version AS "stateVersion",
              state, ${DIGEST} AS digest
       FROM items ORDER BY id LIMIT ${SAMPLE_ROWS}`,
    ),
  );
  return rows.length === 0 || rows.some((row) => digester.row(row) === row.digest);
}
