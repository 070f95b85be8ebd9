import { readFile } from 'node:fs/promises';
import test from 'ava';
import { Digester, leafOf } from '../../src/merkle/digest.ts';
import { contentDigest, sha256, stateDigest, xor, ZERO } from '../helpers/reference-digest.ts';

interface Vectors {
  readonly keys: readonly { readonly key: string | null; readonly keyCheck: string }[];
  readonly rows: readonly {
    readonly id: string;
    readonly contentVersion: number;
    readonly deleted: boolean;
    readonly binary: boolean;
    readonly body: string;
    readonly stateVersion: number;
    readonly state: string;
    readonly contentHash: string;
    readonly leaf: number;
    readonly digest: string;
    readonly keyedDigest: string;
  }[];
  readonly root: { readonly count: number; readonly digest: string };
}

test('the test vectors of the peer protocol are what this code makes', async (t) => {
  const document = await readFile('docs/peer-protocol.md', 'utf8');
  const [, json = ''] = /```json\n([\s\S]*?)```/.exec(document) ?? [];
  const { keys, rows, root } = JSON.parse(json) as Vectors;
  for (const { key, keyCheck } of keys) t.is(new Digester(key ?? undefined).check(), keyCheck);
  t.is(rows.length, 4);
  let sum: Buffer = ZERO;
  for (const row of rows) {
    const { id, contentVersion, deleted, binary, body, stateVersion, state } = row;
    const hash = deleted ? undefined : sha256(binary ? Buffer.from(body, 'base64') : body);
    t.is(hash?.toString('hex') ?? '', row.contentHash);
    t.is(leafOf(id), row.leaf);
    const digest = xor(
      contentVersion === 0 ? ZERO : contentDigest(id, contentVersion, hash),
      stateVersion === 0 ? ZERO : stateDigest(id, stateVersion, state),
    );
    t.is(digest.toString('hex'), row.digest, id);
    const keyed = new Digester('a secret key').row({ ...row, contentHash: hash?.toString('hex') ?? null });
    t.is(keyed, row.keyedDigest, id);
    if (!deleted) sum = xor(sum, digest);
  }
  t.deepEqual({ count: 2, digest: sum.toString('hex') }, root);
});
