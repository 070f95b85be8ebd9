import test, { type ExecutionContext } from 'ava';
import { CorruptItemError } from '../../src/errors.ts';
import { claimMerkleKey } from '../../src/postgres/merkle-key.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { lanesWriterOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment());
  const reader = closing(t, await openReader(deployment.options));
  const writer = lanesWriterOf(deployment);
  await writer.write([
    chunkOf([
      { id: 'json', stamp: 10, kind: 'json', body: '{"1":-0,"b":1,"é":"\\u0000"}' },
      { id: 'binary', stamp: 11, kind: 'binary', body: Buffer.from([1, 2, 3]).toString('base64') },
    ]),
  ]);
  const { redis, keys } = deployment;
  return {
    deployment,
    reader,
    copy: (id: string) => redis.get(keys.item(id)),
    spoil: async (id: string, change: (text: string) => string) =>
      redis.set(keys.item(id), change((await redis.get(keys.item(id))) as string)),
  };
}

const verify = { verify: true };

test('verify: what is as it was written passes, from each tier', async (t) => {
  const { reader, deployment } = await setUp(t);
  for (const id of ['json', 'binary']) {
    const item = await reader.get(id, verify);
    t.truthy(item);
    t.is(await reader.get(id, verify), item, 'out of L1');
    await deployment.redis.del(deployment.keys.item(id));
    const other = await openReader(deployment.options);
    t.deepEqual(await other.get(id, verify), item);
    await other.close();
  }
  t.is(await reader.get('nobody', verify), undefined);
});

test('verify: content that a caller changed in L1 is replaced', async (t) => {
  const { reader } = await setUp(t);
  const item = await reader.get('binary');
  const bytes = item?.content;
  if (bytes instanceof Uint8Array) bytes[0] = 99;
  t.deepEqual((await reader.get('binary'))?.content, new Uint8Array([99, 2, 3]), 'bytes cannot be frozen');
  t.deepEqual((await reader.get('binary', verify))?.content, new Uint8Array([1, 2, 3]));
  t.deepEqual((await reader.get('binary'))?.content, new Uint8Array([1, 2, 3]));
});

test('verify: a corrupt copy in L2 is replaced from L3', async (t) => {
  const { reader, copy, spoil } = await setUp(t);
  const good = await copy('json');
  await spoil('json', (text) => text.replace('"b":1', '"b":2'));
  t.deepEqual((await reader.get('json', verify))?.content, { b: 1, 1: -0, é: '\0' });
  await eventually(async () => (await copy('json')) === good, 'L2 is healed');
});

test('I8: content in L2 that is no JSON any more is told to whoever asks for it, and verify replaces it', async (t) => {
  const { reader, copy, spoil } = await setUp(t);
  const good = await copy('json');
  await spoil('json', (text) => text.replace('"b":1', '"b" 1'));
  const item = await reader.get('json');
  t.throws(() => item?.content, { instanceOf: CorruptItemError, message: /verify: true/ });
  t.deepEqual((await reader.get('json', verify))?.content, { b: 1, 1: -0, é: '\0' });
  await eventually(async () => (await copy('json')) === good, 'L2 is healed');
});

test('I8: a copy in L2 that cannot be read counts as missing and is replaced', async (t) => {
  for (const change of [
    () => 'x',
    () => '',
    (text: string) => text.slice(0, -1),
    (text: string) => `9${text.slice(1)}`,
  ]) {
    const { reader, copy, spoil } = await setUp(t);
    const good = await copy('json');
    await spoil('json', change);
    t.deepEqual((await reader.get('json'))?.content, { b: 1, 1: -0, é: '\0' });
    await eventually(async () => (await copy('json')) === good, 'L2 is healed');
  }
});

test('I8: verify: corrupt content in L3 is an error that says so, and stays in no copy', async (t) => {
  const { deployment, reader, copy } = await setUp(t);
  await deployment.query(`UPDATE items SET content = '{"b":2}' WHERE id = 'json'`);
  await deployment.redis.del(deployment.keys.item('json'));
  const refused = { instanceOf: CorruptItemError, message: /"json" in Postgres/ };
  await t.throwsAsync(reader.get('json', verify), refused);
  await t.throwsAsync(reader.get('json', verify), refused, 'not out of a copy either');
  await deployment.query(`UPDATE items SET content = '{"1":-0,"b":1,"é":"\\u0000"}' WHERE id = 'json'`);
  t.truthy(await reader.get('json', verify));
  await eventually(async () => (await copy('json')) !== null, 'L2 is filled again');
});

test('verify: JSON that another program wrote with other spacing is not taken for corrupt', async (t) => {
  const { deployment, reader } = await setUp(t);
  await lanesWriterOf(deployment).write([
    chunkOf([{ id: 'foreign', stamp: 20, kind: 'json', body: '{ "b": 1.0, "1": 2 }' }]),
  ]);
  t.deepEqual((await reader.get('foreign', verify))?.content, { b: 1, 1: 2 });
});

for (const [what, change] of [
  ['its state', "state = 'forged', state_version = 12"],
  ['its state alone', "state = 'forged'"],
  ['its content stamp', 'content_version = 99'],
  ['its content with the hash', `content = '{"b":2}', content_hash = sha256('{"b":2}')`],
]) {
  test(`I8: verify: a row whose writer did not leave ${what} so is an error, and comes out of no copy`, async (t) => {
    const { deployment, reader } = await setUp(t);
    // As the first worker does.
    await deployment.shards.each(({ pool }) => claimMerkleKey(pool, undefined));
    await deployment.query(`UPDATE items SET ${change} WHERE id = 'json'`);
    await deployment.redis.del(deployment.keys.item('json'));
    const refused = { instanceOf: CorruptItemError, message: /digest of "json" in Postgres/ };
    await t.throwsAsync(reader.get('json', verify), refused);
    t.truthy(await reader.get('json'), 'who does not verify is told nothing');
    await deployment.redis.del(deployment.keys.item('json'));
    const other = closing(t, await openReader(deployment.options));
    await t.throwsAsync(other.get('json', verify), refused);
  });
}

test('verify: a reader without the key of a keyed store compares hashes alone', async (t) => {
  const deployment = closing(t, await createDeployment({ merkleKey: 'a key of the store' }));
  await lanesWriterOf(deployment).write([chunkOf([{ id: 'a', stamp: 10, kind: 'json', body: '1' }])]);
  await deployment.shards.each(({ pool }) => claimMerkleKey(pool, 'a key of the store'));
  const { merkleKey: _, ...options } = deployment.options;
  const reader = closing(t, await openReader(options));
  t.is((await reader.get('a', verify))?.content, 1);
  await deployment.redis.del(deployment.keys.item('a'));
  const other = closing(t, await openReader(options));
  t.is((await other.get('a', verify))?.content, 1);
});
