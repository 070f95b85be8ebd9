import test from 'ava';
import { InvalidItemError, MerkleKeyError } from '../../src/errors.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { MerkleVerification } from '../../src/types/merkle.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';

const COUNT = 5000;
const merkleKey = 'a key of at least sixteen';

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment({ ...ONE_LANE, merkleKey });
  await using store = await openStore(deployment.options);
  await using _drain = await startDrain(deployment.options);
  const items = Array.from({ length: COUNT - 4 }, (_, i) => ({ id: `some.${i}`, content: { i } }));
  await (await store.submitMany(items)).settled();
  await (await store.submit({ id: 'json', content: { a: 'é' } })).settled();
  await (await store.submit({ id: 'binary', content: new Uint8Array([1, 2, 3]) })).settled();
  await (await store.setState('json', 'open')).settled();
  await (await store.setState('stub', 'open')).settled();
  await (await store.submit({ id: 'gone', content: 1 })).settled();
  await (await store.delete('gone')).settled();
});
test.after.always(() => deployment.close());

async function verified(sql?: string): Promise<MerkleVerification> {
  await using reader = await openReader(deployment.options);
  const { pool } = deployment;
  if (sql === undefined) return await reader.merkle.verify({ content: true });
  await pool.query('CREATE TABLE kept AS SELECT * FROM items');
  await pool.query(sql);
  try {
    return await reader.merkle.verify({ content: true });
  } finally {
    await pool.query('TRUNCATE items');
    await pool.query('INSERT INTO items SELECT * FROM kept');
    await pool.query('DROP TABLE kept');
  }
}

test.serial('I5: digests made again are those of every row, live and deleted', async (t) => {
  t.deepEqual(await verified(), { ok: true, rows: COUNT, differences: [] });
});

for (const [edit, id, kind, sql] of [
  ['content', 'json', 'content', `content = '{"a":"e"}'`],
  [
    'content with its hash',
    'json',
    'digest',
    `content = '1', content_hash = sha256(convert_to('1', 'UTF8'))`,
  ],
  ['JSON that means the same', 'json', 'content', `content = '{ "a":"é"}'`],
  ['bytes', 'binary', 'content', `content_bytes = '\\x010204'`],
  ['content that became bytes', 'json', 'content', `content = NULL, content_bytes = '\\x01'`],
  ['the hash alone', 'json', 'content', `content_hash = sha256('x')`],
  ['the state', 'json', 'digest', `state = 'shut'`],
  ['the content stamp', 'json', 'digest', 'content_version = content_version + 1'],
  ['the state stamp', 'json', 'digest', 'state_version = state_version + 1'],
  ['the state of an item whose state was never set', 'binary', 'digest', `state = 'open'`],
  ['a state that was never set', 'binary', 'digest', `state_version = 5, state = 'open'`],
  ['a delete', 'json', 'digest', `deleted = true, content = NULL, content_hash = NULL, tombstone_week = 1`],
  [
    'a delete undone',
    'gone',
    'digest',
    `deleted = false, content = '1', content_hash = sha256(convert_to('1', 'UTF8')), tombstone_week = 0`,
  ],
  [
    'a state that waits for its content',
    'stub',
    'digest',
    `deleted = false, content = '1', content_hash = sha256(convert_to('1', 'UTF8')), tombstone_week = 0`,
  ],
  ['the digest', 'json', 'digest', 'digest_lo = digest_lo # 1'],
  ['the digest of the state', 'json', 'digest', 'state_digest_lo = state_digest_lo # 1'],
  ['the id', 'jsonx', 'digest', `id = 'jsonx'`],
  ['the place in the tree', 'json', 'place', 'id_hash = id_hash # 1'],
  ['the week of a tombstone', 'gone', 'place', 'tombstone_week = tombstone_week + 1'],
] as const) {
  test.serial(`I5: an edit of ${edit} is found and named by its id`, async (t) => {
    const where = id === 'jsonx' ? 'json' : id;
    const { ok, differences } = await verified(`UPDATE items SET ${sql} WHERE id = '${where}'`);
    t.false(ok);
    const rows = differences.filter(({ kind: of }) => ['content', 'digest', 'place'].includes(of));
    t.deepEqual(rows, [{ kind, node: id, rows: 1, tree: 1 }]);
  });
}

test.serial(
  'I5: a row that was removed is found by its leaf and prefix, because no row is left to name',
  async (t) => {
    const { ok, rows, differences } = await verified(`DELETE FROM items WHERE id = 'some.7'`);
    t.false(ok);
    t.is(rows, COUNT - 1);
    t.deepEqual(
      differences.map(({ kind }) => kind),
      ['leaf', 'path', 'path'],
    );
    t.deepEqual(
      differences.map(({ rows: stored, tree }) => tree - stored),
      [1, 1, 1],
    );
  },
);

test.serial('columns that no digest holds are not checked', async (t) => {
  const edit = `UPDATE items SET trace_parent = 'x', durable = NOT durable, updated_at = updated_at - interval '1 day'`;
  t.true((await verified(`${edit} WHERE id = 'json'`)).ok);
});

test.serial('rows are told of as they are checked, and a later call goes on', async (t) => {
  await using reader = await openReader(deployment.options);
  const told: { rows: number; cursor: string }[] = [];
  const whole = await reader.merkle.verify({ content: true, onProgress: (progress) => told.push(progress) });
  t.is(whole.rows, COUNT);
  t.deepEqual(
    told.map(({ rows }) => rows),
    [2000, 4000],
  );
  const rest = await reader.merkle.verify({ content: true, after: told[1]?.cursor as string });
  t.is(rest.rows, 1000);
  const stop = new AbortController();
  const stopped = reader.merkle.verify({
    content: true,
    signal: stop.signal,
    onProgress: () => stop.abort(),
  });
  t.is(((await stopped.catch((error: unknown) => error)) as Error).name, 'AbortError');
});

test.serial('digests of another key, or a place that is none, are refused', async (t) => {
  await using keyless = await openReader({ ...deployment.options, merkleKey: undefined });
  await t.throwsAsync(keyless.merkle.verify({ content: true }), { instanceOf: MerkleKeyError });
  t.true((await keyless.merkle.verify()).ok);
  await using reader = await openReader(deployment.options);
  for (const options of [{ content: true, after: 'x' }, { after: 'x' }, { content: 1 }, { onProgress: 1 }]) {
    await t.throwsAsync(reader.merkle.verify(options as object), { instanceOf: InvalidItemError });
  }
});
