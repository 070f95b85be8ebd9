import test from 'ava';
import { type DrainWorker, startDrain } from '../../src/drain/start-drain.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';

let deployment: Deployment;
let drain: DrainWorker;
let store: Store;
test.beforeEach(async () => {
  deployment = await createDeployment();
  drain = await startDrain(deployment.options);
  store = await openStore({ ...deployment.options, l1MaxBytes: 0 });
  await poison(true);
});
test.afterEach.always(async () => {
  await store.close();
  await drain.close();
  await deployment.close();
});

const poison = (on: boolean) =>
  deployment.query(
    on
      ? `ALTER TABLE items ADD CONSTRAINT no_poison CHECK (content::text NOT LIKE '%poison%')`
      : 'ALTER TABLE items DROP CONSTRAINT no_poison',
  );
const letters = (...args: readonly string[]) => runCommand(deployment.env, ['dead-letters', ...args]);
/** Newest first is the order within one shard, so lists below are of ids that are together. */
const die = async (...ids: readonly string[]) => {
  for (const id of ids) await (await store.submit({ id, content: `poison of ${id}` })).settled();
};
interface Listed {
  readonly seq: number;
  readonly itemId: string;
}
const listed = async () => jsonOf<Listed>((await letters('list', '--json')).stdout);

test.serial('list and show: what, why and when; the payload only in show', async (t) => {
  t.is((await letters('list')).stdout, 'no dead letters\n');
  await die('{l}.a', '{l}.b');
  const { code, stdout } = await letters('list');
  t.is(code, 0);
  t.regex(stdout, /^\d+ +\{l\}\.b +\S+Z +1 +23514 +.*no_poison/m);
  t.false(stdout.includes('poison of'));
  t.deepEqual(
    (await listed()).map(({ itemId }) => itemId),
    ['{l}.b', '{l}.a'],
  );
  t.is(jsonOf((await letters('list', '--json', '--limit', '1')).stdout).length, 1);

  const [newest] = await listed();
  const shown = await letters('show', String(newest?.seq));
  t.is(shown.code, 0);
  t.regex(shown.stdout, /"body":"\\"poison of \{l\}\.b\\""/);
  const none = await letters('show', '999999');
  t.is(none.code, 1);
  t.regex(none.stderr, /no letter 999999/);
});

test.serial('replay: refused again while the cause is there, stored once it is mended', async (t) => {
  await die('a');
  const seq = String((await listed())[0]?.seq);
  const again = await letters('replay', seq);
  t.is(again.code, 1);
  t.regex(again.stdout, /^\d+ +dead +.*no_poison/m);
  t.is((await listed()).length, 1);

  await poison(false);
  const { code, stdout } = await letters('replay', seq, '--json');
  t.is(code, 0);
  t.like(jsonOf<object>(stdout)[0], { status: 'replayed' });
  t.deepEqual(await listed(), []);
  t.is((await store.get('a'))?.content, 'poison of a');
  const gone = await letters('replay', seq);
  t.is(gone.code, 1);
  t.regex(gone.stdout, /gone/);
});

test.serial('I4: replay never undoes a newer write or delete', async (t) => {
  await die('written', 'deleted', 'lone');
  await (await store.submit({ id: 'written', content: 'newer' })).settled();
  await (await store.submit({ id: 'deleted', content: 'for a while' })).settled();
  await (await store.delete('deleted')).settled();
  await poison(false);
  const { code, stdout } = await letters('replay', '--all', '--json');
  t.is(code, 0);
  t.deepEqual(
    jsonOf<{ status: string }>(stdout).map(({ status }) => status),
    ['replayed', 'superseded', 'superseded'],
  );
  t.deepEqual(await listed(), []);
  t.is((await store.get('written'))?.content, 'newer');
  t.is(await store.get('deleted'), undefined);
  t.is((await store.get('lone'))?.content, 'poison of lone');
  t.true((await store.merkle.verify()).ok);
});

test.serial('replay without a drain worker ends in time, and the letter stays', async (t) => {
  await die('a');
  await drain.close();
  const { code, stderr } = await letters('replay', '--all', '--timeout', '0.3');
  t.is(code, 1);
  t.regex(stderr, /is a drain worker running\?.*ERR_SETTLE_TIMEOUT/);
  t.is((await listed()).length, 1);
});

test.serial('purge: by number, by age, all', async (t) => {
  await die('{l}.a', '{l}.b', '{l}.c');
  const [c, b] = await listed();
  const some = await letters('purge', String(b?.seq), '424242');
  t.is(some.code, 1, 'one of them is not there');
  t.is(some.stdout, '1 purged\n');
  await deployment.query(`UPDATE dead_letters SET died_at = now() - interval '100 days' WHERE seq = $1`, [
    c?.seq,
  ]);
  t.is((await letters('purge', '--older-than', '90', '--json')).stdout, '{"purged":1}\n');
  t.deepEqual(
    (await listed()).map(({ itemId }) => itemId),
    ['{l}.a'],
  );
  t.deepEqual(await letters('purge', '--all'), { code: 0, stdout: '1 purged\n', stderr: '' });
  t.deepEqual(await letters('replay', '--all'), { code: 0, stdout: 'no dead letters\n', stderr: '' });
});
