import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { MerkleKeyError } from '../../src/errors.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { closing } from '../helpers/setting.ts';

const KEY = 'the key of this store';
const OTHER = 'the key of another one';
const REFUSED = { instanceOf: MerkleKeyError, code: 'ERR_MERKLE_KEY' };

/** Filled by a worker with `key`. */
async function filled(t: ExecutionContext, key: string | undefined): Promise<Deployment> {
  const deployment = closing(t, await createDeployment());
  const options = withKey(deployment, key);
  const worker = await startDrain(options);
  const store = await openStore(options);
  await store.submitMany(['a', 'b', 'c'].map((id) => ({ id, content: id, state: 'open' })));
  await store.delete('b');
  await store.setState('c', 'shut');
  await store.setState('unknown', 'open');
  await store.flush();
  await store.close();
  await worker.close();
  return deployment;
}

function withKey({ options }: Deployment, merkleKey: string | undefined): Options {
  return merkleKey === undefined ? options : { ...options, merkleKey };
}

async function opens(
  t: ExecutionContext,
  open: (options: Options) => Promise<{ close(): Promise<void> }>,
  options: Options,
): Promise<void> {
  await t.notThrowsAsync(async () => (await open(options)).close());
}

for (const [name, own, others] of [
  ['a key', KEY, [OTHER, undefined]],
  ['no key', undefined, [KEY]],
] as const) {
  test(`I5: of a store with ${name}, workers with another are refused`, async (t) => {
    const deployment = await filled(t, own);
    for (const other of others) {
      await t.throwsAsync(startDrain(withKey(deployment, other)), REFUSED);
      await t.throwsAsync(startMaintenance(withKey(deployment, other)), REFUSED);
    }
    await opens(t, startDrain, withKey(deployment, own));
    await opens(t, startMaintenance, withKey(deployment, own));
  });

  test(`I5: a store with ${name} that was filled before the check value existed takes it from the rows`, async (t) => {
    const deployment = await filled(t, own);
    await deployment.query('DELETE FROM merkle_key');
    for (const other of others) await t.throwsAsync(startDrain(withKey(deployment, other)), REFUSED);
    await opens(t, startDrain, withKey(deployment, own));
    for (const other of others) await t.throwsAsync(startDrain(withKey(deployment, other)), REFUSED);
  });
}

test('I5: who computes no digests needs no key, but must not bring another', async (t) => {
  const deployment = await filled(t, KEY);
  for (const open of [openReader, openStore]) {
    await t.throwsAsync(open(withKey(deployment, OTHER)), REFUSED);
    await opens(t, open, withKey(deployment, KEY));
    await opens(t, open, deployment.options);
  }
  const replay = await runCommand({ ...deployment.env, TIERLINE_MERKLE_KEY: OTHER }, [
    'dead-letters',
    'replay',
    '1',
  ]);
  t.not(replay.code, 0);
  t.regex(replay.stderr, /TIERLINE_MERKLE_KEY/);
});

test('I5: the key of an empty store is that of its first worker, also when two start at once', async (t) => {
  const deployment = closing(t, await createDeployment({}, ['a', 'b']));
  await opens(t, openReader, withKey(deployment, OTHER));
  const started = await Promise.allSettled([KEY, OTHER].map((key) => startDrain(withKey(deployment, key))));
  const workers = started.filter((result) => result.status === 'fulfilled');
  const refused = started.filter((result) => result.status === 'rejected');
  t.is(workers.length, 1);
  t.true(refused[0]?.reason instanceof MerkleKeyError);
  await workers[0]?.value.close();
});

test('the command line tells which key is right', async (t) => {
  const deployment = await filled(t, KEY);
  const doctor = async (env: NodeJS.ProcessEnv) => {
    const { stdout } = await runCommand({ ...deployment.env, ...env }, ['doctor']);
    return stdout;
  };
  t.regex(await doctor({ TIERLINE_MERKLE_KEY: KEY }), /ok {4}postgres: (a )?Merkle key/);
  t.regex(
    await doctor({ TIERLINE_MERKLE_KEY: OTHER }),
    /FAIL {2}postgres: (a )?Merkle key .*another key\n +fix: .*TIERLINE_MERKLE_KEY/,
  );
  t.regex(await doctor({}), /WARN {2}postgres: (a )?Merkle key .*\n +fix: .*TIERLINE_MERKLE_KEY/);
});
