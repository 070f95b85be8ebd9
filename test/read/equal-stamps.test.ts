import test, { type ExecutionContext } from 'ava';
import type { Chunk } from '../../src/batch/fold.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { writerOf } from '../helpers/writer.ts';

const STAMP = 1_795_000_000_000_000;
const json = (body: string, state?: string): TestOp => ({
  id: 'a',
  stamp: STAMP,
  kind: 'json',
  body,
  ...(state === undefined ? {} : { state }),
});
/** In the order of their SHA-256. */
const BODIES = ['3', '1', '2'] as const;

async function setUp(t: ExecutionContext) {
  const deployment = await createDeployment(ONE_LANE);
  const reader = await openReader(deployment.options);
  t.teardown(() => reader.close().then(() => deployment.close()));
  const write = (...ops: TestOp[]) =>
    writeAll(
      deployment,
      ops.map((op) => chunkOf([op])),
    );
  return { deployment, reader, write };
}

async function writeAll(deployment: Deployment, chunks: Chunk[]): Promise<void> {
  await writerOf(deployment).write(chunks);
}

test('I6: a reader learns of a content that won over that of its stamp, and keeps it', async (t) => {
  const { reader, write } = await setUp(t);
  await write(json(BODIES[0]));
  t.is((await reader.get('a'))?.content, Number(BODIES[0]));
  await write(json(BODIES[1]));
  await eventually(async () => (await reader.get('a'))?.content === Number(BODIES[1]), 'the winner');
  await write(json(BODIES[0]));
  await write(json(BODIES[2]));
  await eventually(async () => (await reader.get('a'))?.content === Number(BODIES[2]), 'the next winner');
  await write({ id: 'a', stamp: STAMP, kind: 'delete' });
  await eventually(async () => (await reader.get('a')) === undefined, 'the delete wins over any content');
  await write(json(BODIES[2]));
  t.is(await reader.get('a'), undefined);
  t.false(await reader.contains('a'));
});

test('I6: a reader learns of a state that won over that of its stamp', async (t) => {
  const { reader, write } = await setUp(t);
  await write(json(BODIES[0], 'open'));
  t.is((await reader.get('a'))?.state, 'open');
  await write({ id: 'a', stamp: STAMP, kind: 'state', state: 'shut' });
  await eventually(async () => (await reader.get('a'))?.state === 'shut', 'the larger text');
  await write({ id: 'a', stamp: STAMP, kind: 'state', state: 'closed' });
  t.is((await reader.get('a'))?.state, 'shut');
});
