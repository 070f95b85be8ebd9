import { randomUUID } from 'node:crypto';
import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Item } from '../../src/types/read.ts';
import { jsonOf, linesOf, runCommand, startCommand } from '../helpers/command-line.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { closing } from '../helpers/setting.ts';

const deployment = await createDeployment();
const drain = await startDrain(deployment.options);
const store = await openStore({ ...deployment.options, l1MaxBytes: 0 });
test.after.always(async () => {
  await store.close();
  await drain.close();
  await deployment.close();
});

const tierline = (...args: readonly string[]) => runCommand(deployment.env, args);
const settle = async (items: readonly { id: string; content: string | Uint8Array; state?: string }[]) => {
  await (await store.submitMany(items)).settled();
};

test('get: items in the order asked, those that are missing on standard error, exit 1', async (t) => {
  await settle([
    { id: 'g.1', content: 'one' },
    { id: 'g.2', content: new Uint8Array([1, 2, 255]) },
  ]);
  const found = await tierline('get', '--json', 'g.2', 'g.1');
  t.is(found.code, 0);
  t.deepEqual(
    jsonOf<Item>(found.stdout).map(({ id, content, contentType }) => [id, content, contentType]),
    [
      ['g.2', 'AQL/', 'binary'],
      ['g.1', 'one', 'json'],
    ],
  );
  const missing = await tierline('get', 'g.1', 'g.none');
  t.is(missing.code, 1);
  t.is(missing.stderr, 'tierline get: no item "g.none"\n');
  t.regex(missing.stdout, /^id +g\.1$/m);
  t.regex(missing.stdout, /^"one"$/m);
  t.regex((await tierline('get', 'g.2')).stdout, /3 bytes of binary content/);
});

test('get: an id that cannot be one is an error by its class', async (t) => {
  const { code, stderr } = await tierline('get', '');
  t.is(code, 1);
  t.regex(stderr, /^tierline: id: must not be empty \(ERR_INVALID_ITEM\)\n$/);
});

test('get --verify: content that was changed behind our back is an error', async (t) => {
  await settle([{ id: 'v.1', content: 'true' }]);
  t.is((await tierline('get', '--verify', 'v.1')).code, 0);
  await deployment.query(`UPDATE items SET content = '"forged"' WHERE id = 'v.1'`);
  await deployment.redis.del(deployment.keys.item('v.1'));
  const { code, stderr } = await tierline('get', '--verify', 'v.1');
  t.is(code, 1);
  t.regex(stderr, /ERR_CORRUPT_ITEM/);
  t.false(stderr.includes('forged'));
  await settle([{ id: 'v.1', content: 'true' }]);
});

test('control characters of stored text do not reach the terminal', async (t) => {
  const id = 'esc.\u001b[31m\u009b2J';
  await settle([{ id, content: 'x\u001b]0;title\u0007\u009b2J' }]);
  for (const args of [
    ['get', id],
    ['status', id],
  ]) {
    const { stdout } = await tierline(...args);
    t.true(stdout.length > 0);
    // oxlint-disable-next-line no-control-regex -- they are what is looked for
    t.notRegex(stdout, /[\u0000-\u0009\u000B-\u001F\u007F-\u009F]/);
  }
});

test('delete: by ids, each with its outcome', async (t) => {
  await settle([
    { id: 'd.1', content: 'x' },
    { id: 'd.2', content: 'x' },
  ]);
  const { code, stdout } = await tierline('delete', '--json', 'd.1', 'd.none');
  t.is(code, 0);
  t.deepEqual(
    jsonOf<{ id: string; status: string }>(stdout).map(({ id, status }) => [id, status]),
    [
      ['d.1', 'applied'],
      ['d.none', 'applied'],
    ],
  );
  t.is(await store.get('d.1'), undefined);
  t.not(await store.get('d.2'), undefined);
  const bad = await tierline('delete', 'd.2', '');
  t.is(bad.code, 1);
  t.regex(bad.stderr, /must not be empty \(ERR_INVALID_ITEM\)/);
  t.is(await store.get('d.2'), undefined);
});

test('delete: a prefix or a state, with how many; an empty one is refused', async (t) => {
  await settle([
    { id: 'dp.1', content: 'x' },
    { id: 'dp.2', content: 'x' },
    { id: 'dq.1', content: 'x', state: 'old' },
  ]);
  const prefix = await tierline('delete', '--prefix', 'dp.');
  t.deepEqual([prefix.code, prefix.stdout], [0, '2 deleted\n']);
  const state = await tierline('delete', '--state', 'old', '--json');
  t.deepEqual([state.code, state.stdout], [0, '{"deleted":1,"dead":0}\n']);
  const empty = await tierline('delete', '--prefix', '');
  t.is(empty.code, 1);
  t.regex(empty.stderr, /ERR_INVALID_ITEM/);
});

test('scan and count: a prefix, a state, a limit, only ids', async (t) => {
  await settle(
    Array.from({ length: 250 }, (_, i) => ({
      id: `s.${String(i).padStart(3, '0')}`,
      content: 'x'.repeat(100),
      state: i % 2 === 0 ? 'even' : 'odd',
    })),
  );
  const all = await tierline('scan', '--prefix', 's.');
  t.is(all.code, 0);
  const ids = jsonOf<Item>(all.stdout).map(({ id }) => id);
  t.deepEqual(
    ids,
    Array.from({ length: 250 }, (_, i) => `s.${String(i).padStart(3, '0')}`),
  );
  const even = await tierline('scan', '--state', 'even', '--ids');
  t.deepEqual(
    jsonOf<string>(even.stdout),
    ids.filter((_, i) => i % 2 === 0),
  );
  t.is(linesOf((await tierline('scan', '--prefix', 's.', '--limit', '7')).stdout).length, 7);
  t.is((await tierline('scan', '--prefix', 's.%')).stdout, '');

  t.is((await tierline('count', '--prefix', 's.')).stdout, '250\n');
  t.is((await tierline('count', '--state', 'odd', '--json')).stdout, '{"count":125}\n');
  t.is((await tierline('count', '--prefix', 'none')).stdout, '0\n');
  t.true(Number((await tierline('count')).stdout) >= 250);
});

test('scan: a reader that has enough ends it quietly', async (t) => {
  await settle(Array.from({ length: 400 }, (_, i) => ({ id: `big.${i}`, content: 'x'.repeat(2000) })));
  const { spawnSync } = await import('node:child_process');
  const command = `"${process.execPath}" dist/src/cli/main.js scan --prefix big. | head -1`;
  const { status, stdout, stderr } = spawnSync('bash', ['-o', 'pipefail', '-c', command], {
    env: deployment.env,
    encoding: 'utf8',
  });
  t.deepEqual([status, stderr], [0, '']);
  t.is(linesOf(stdout).length, 1);
});

test('status: of items and of the deployment', async (t) => {
  await settle([{ id: 'st.1', content: 'x' }]);
  const { code, stdout } = await tierline('status', 'st.1', 'st.none', '--json');
  t.is(code, 1);
  const [known, missing] = jsonOf<object>(stdout);
  t.like(known, { id: 'st.1', status: 'synced', inL2: true, inL3: true });
  t.deepEqual(missing, { id: 'st.none', status: 'missing' });
  t.regex((await tierline('status', 'st.1')).stdout, /^st\.1 +synced +\d{16} +yes +yes$/m);
  const whole = await tierline('status');
  t.is(whole.code, 0);
  t.regex(whole.stdout, /^items +[\d,]+$/m);
  const [figures] = jsonOf<{ items: number; deadLetters: number }>(
    (await tierline('status', '--json')).stdout,
  );
  t.true((figures?.items ?? 0) >= 1);
});

test('tail: follows what settles, only the prefix, to the limit', async (t) => {
  // In one partition: only there the order is given.
  const prefix = `{tail.${randomUUID()}}.`;
  const tail = startCommand(deployment.env, ['tail', '--json', '--prefix', prefix, '--limit', '3']);
  await eventually(() => tail.errors().includes('following'), 'tail follows');
  await settle([
    { id: `${prefix}1`, content: 'x' },
    { id: 'tail-other', content: 'x' },
  ]);
  await (await store.delete(`${prefix}1`)).settled();
  await settle([
    { id: `${prefix}2`, content: 'x' },
    { id: `${prefix}3`, content: 'x' },
  ]);
  const { code, stdout } = await tail.finished;
  t.is(code, 0);
  t.deepEqual(
    jsonOf<{ id: string; kind: string }>(stdout).map(({ id, kind }) => [id.slice(prefix.length), kind]),
    [
      ['1', 'put'],
      ['1', 'delete'],
      ['2', 'put'],
    ],
  );
});

test('tail: Ctrl-C ends it well', async (t) => {
  const tail = startCommand(deployment.env, ['tail']);
  await eventually(() => tail.errors().includes('following'), 'tail follows');
  await settle([{ id: 'ctrl-c', content: 'x' }]);
  await eventually(() => tail.output().includes('put     '), 'a change is printed');
  tail.kill('SIGINT');
  t.is((await tail.finished).code, 0);
});

test('pressure: for people and for scripts', async (t) => {
  const busy = closing(t, await createDeployment({ maxWaitingItems: 10 }));
  const env = { ...busy.env, TIERLINE_MAX_WAITING_ITEMS: '10' };
  const writer = closing(t, await openStore(busy.options));
  await writer.submitMany(Array.from({ length: 8 }, (_, i) => ({ id: `p.${i}`, content: i })));
  const { code, stdout } = await runCommand(env, ['pressure', '--json']);
  t.is(code, 0);
  t.like(jsonOf<object>(stdout)[0], { level: 'warn', ratio: 0.8, waitingItems: 8 });
  t.regex((await runCommand(env, ['pressure'])).stdout, /^level +warn$/m);
});

test('merkle: root, prefix, and verify that finds a row changed behind its back', async (t) => {
  const own = closing(t, await createDeployment());
  closing(t, await startDrain(own.options));
  const writer = closing(t, await openStore(own.options));
  const run = (...args: readonly string[]) => runCommand(own.env, ['merkle', ...args]);
  await (await writer.submitMany(['a.b.1', 'a.b.2', 'a.c.1'].map((id) => ({ id, content: id })))).settled();
  const root = jsonOf<{ count: number; digest: string }>((await run('root', '--json')).stdout)[0];
  t.deepEqual(root, { ...(await writer.merkle.root()) });
  t.is(root?.count, 3);
  t.regex((await run('prefix', 'a.b')).stdout, /^items +2$/m);
  t.like(jsonOf<object>((await run('prefix', 'none', '--json')).stdout)[0], { path: 'none', count: 0 });
  t.deepEqual(await run('verify'), { code: 0, stdout: 'tree and stored digests agree\n', stderr: '' });
  t.is((await run('verify', '--content')).stdout, 'tree and digests agree with 3 rows\n');
  await own.query(`UPDATE items SET state = 'odd' WHERE id = 'a.c.1'`);
  t.is((await run('verify')).code, 0, 'the tree does not know of it');
  const edited = await run('verify', '--content');
  t.is(edited.code, 1);
  t.regex(edited.stdout, /^digest +a\.c\.1 +1 +1$/m);
  t.is((await run('verify', '--after', 'x')).code, 2);
  await own.query(`UPDATE items SET digest_hi = digest_hi # 1 WHERE id = 'a.b.1'`);
  const broken = await run('verify');
  t.is(broken.code, 1);
  t.regex(broken.stdout, /^path +a\.b +2 +2$/m);
  const [verdict] = jsonOf<{ ok: boolean; differences: unknown[] }>((await run('verify', '--json')).stdout);
  t.false(verdict?.ok);
  t.true((verdict?.differences.length ?? 0) >= 3);
});

test('migrate: from nothing, and again', async (t) => {
  const own = closing(t, await createDeployment());
  await own.query('DROP SCHEMA public CASCADE');
  await own.query('CREATE SCHEMA public');
  const missing = await runCommand(own.env, ['count']);
  t.is(missing.code, 1);
  t.regex(missing.stderr, /ERR_SCHEMA_MISSING/);
  const first = await runCommand(own.env, ['migrate', '--json', '--partitions', `${own.lanes.count}`]);
  t.is(first.code, 0);
  t.true(jsonOf<{ ran: string[] }>(first.stdout)[0]?.ran.includes('01_items'));
  t.regex((await runCommand(own.env, ['migrate'])).stdout, /^((a: |b: )?the schema is up to date\n)+$/);
  t.is((await runCommand(own.env, ['count'])).stdout, '0\n');
});

test('--verbose writes the log to standard error and leaves the results alone', async (t) => {
  const env = { ...deployment.env, TIERLINE_LOG_LEVEL: 'trace' };
  const { code, stdout, stderr } = await runCommand(env, ['scan', '--prefix', 'none', '--verbose']);
  t.deepEqual([code, stdout], [0, '']);
  t.true(jsonOf<object>(stderr).length > 0);
});
