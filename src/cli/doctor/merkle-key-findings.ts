import { matchMerkleKey } from '../../postgres/merkle-key.ts';
import type { Pool } from '../../postgres/pool.ts';
import { fail, type Finding, ok, warn } from './finding.ts';

const FIX = 'set TIERLINE_MERKLE_KEY to what the drain workers have, or unset it if they have none';

/** Whether a worker could start with the key of this environment. @throws as `matchMerkleKey` */
export async function merkleKeyFindings(pool: Pool, key: string | undefined): Promise<Finding[]> {
  const match = await matchMerkleKey(pool, key);
  if (match === 'unknown') return [ok('postgres', 'Merkle key', 'none yet: the first drain worker sets it')];
  if (match === 'same') return [ok('postgres', 'Merkle key', "the store's")];
  return [
    key === undefined
      ? warn('postgres', 'Merkle key', 'the store has one that is not set here: no worker would start', FIX)
      : fail('postgres', 'Merkle key', 'the store was filled with another key', FIX),
  ];
}
