import test from 'ava';
import * as fc from 'fast-check';
import { InvalidItemError } from '../../src/errors.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { chunkOf } from '../helpers/operations.ts';
import { lanesWriterOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

const IDS = ['tenantA.secret', 'tenantB.1', 'tenantB.2', 'tenantB.x.1', 'tenantC.1', 'tenantB'];
const OPEN = ['tenantA.secret', 'tenantB.1', 'tenantC.1'];

const raw = (parts: unknown, encoding: BufferEncoding = 'base64url') =>
  Buffer.from(JSON.stringify(parts)).toString(encoding);

const inPrefix = (id: string) => id.startsWith('tenantB.');
const isOpen = (id: string) => OPEN.includes(id);

async function idsOf(items: AsyncIterable<{ id: string }>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of items) ids.push(id);
  return ids;
}

/** Every way to ask with a cursor: what it answers, and which ids may be in the answer. */
async function setUp(t: { teardown(fn: () => Promise<void>): void }) {
  const deployment = closing(t, await createDeployment());
  const reader = closing(t, await openReader(deployment.options));
  await lanesWriterOf(deployment).write([
    chunkOf(
      IDS.map((id, i) => ({
        id,
        stamp: 1 + i,
        kind: 'json',
        body: '1',
        state: OPEN.includes(id) ? 'open' : 'shut',
      })),
    ),
  ]);
  const queries: readonly [ask: (after: string) => Promise<string[]>, may: (id: string) => boolean][] = [
    [async (after) => (await reader.getByPrefix('tenantB.', { after })).items.map(({ id }) => id), inPrefix],
    [async (after) => idsOf(reader.scanPrefix('tenantB.', { after })), inPrefix],
    [async (after) => (await reader.getByState('open', { after })).items.map(({ id }) => id), isOpen],
    [async (after) => idsOf(reader.scanState('open', { after })), isOpen],
    [async (after) => [...(await reader.listStateIds('open', { after })).items], isOpen],
    [
      async (after) => (await reader.merkle.children('tenantB', { after })).items.map(({ path }) => path),
      inPrefix,
    ],
    [async (after) => (await reader.getByPrefix('', { after })).items.map(({ id }) => id), () => true],
  ];
  return { reader, queries };
}

test('I8: a forged cursor does not leave its prefix', async (t) => {
  const { reader } = await setUp(t);
  const refused = { instanceOf: InvalidItemError };
  for (const id of ['!', 'tenantA.', 'tenantA.secret', 'tenantB', 'tenantB/', 'tenantC.1', '', '\0']) {
    const after = raw([1, 'prefix', 'tenantB.', id]);
    await t.throwsAsync(reader.getByPrefix('tenantB.', { after }), refused, id);
    t.throws(() => reader.scanPrefix('tenantB.', { after }), refused, id);
  }
  const children = raw([1, 'children', 'tenantB', 'tenantA.z']);
  await t.throwsAsync(reader.merkle.children('tenantB', { after: children }), refused);
  for (const id of ['tenantB.\0', 'tenantB.\ud800', `tenantB.${'x'.repeat(250)}`, 5, null, ['tenantB.1']]) {
    await t.throwsAsync(
      reader.getByPrefix('tenantB.', { after: raw([1, 'prefix', 'tenantB.', id]) }),
      refused,
    );
  }
  const good = raw([1, 'prefix', 'tenantB.', 'tenantB.1']);
  t.deepEqual(
    (await reader.getByPrefix('tenantB.', { after: good })).items.map(({ id }) => id),
    ['tenantB.2', 'tenantB.x.1'],
  );
  const state = raw([1, 'state', 'open', 'tenantB.1']);
  t.deepEqual((await reader.listStateIds('open', { after: state })).items, ['tenantC.1']);
  for (const after of [
    `${good}=`,
    ` ${good}`,
    `${good}\n`,
    raw([1, 'prefix', 'tenantB.', 'tenantB.1?~'], 'base64'),
  ]) {
    await t.throwsAsync(reader.getByPrefix('tenantB.', { after }), refused, 'another spelling');
  }
  const spaced = Buffer.from('[1, "prefix", "tenantB.", "tenantB.1"]').toString('base64url');
  await t.throwsAsync(
    reader.getByPrefix('tenantB.', { after: spaced }),
    refused,
    'another spelling of the JSON',
  );
});

test('I8: whatever the cursor, the answer is InvalidItemError or only what the query may see', async (t) => {
  const { queries } = await setUp(t);
  const words = fc.oneof(
    fc.constantFrom(
      ...IDS,
      'tenantB.',
      'tenantA.',
      'open',
      'shut',
      '',
      '\0',
      '\u{10ffff}',
      '\ud800',
      'tenantB.\udc00',
      'x'.repeat(300),
    ),
    fc.string({ unit: 'binary' }),
    fc.string(),
  );
  const anything = fc.oneof(
    { weight: 6, arbitrary: words },
    { weight: 1, arbitrary: fc.constantFrom(0, 1, -1, 1.5, null, true, [], {}, ['tenantB.1']) },
  );
  const parts = fc.tuple(
    fc.oneof({ weight: 5, arbitrary: fc.constant<unknown>(1) }, anything),
    fc.oneof({ weight: 5, arbitrary: fc.constantFrom<unknown>('prefix', 'state', 'children') }, anything),
    fc.oneof({ weight: 5, arbitrary: fc.constantFrom<unknown>('tenantB.', 'tenantB', 'open', '') }, anything),
    anything,
  );
  const cursor = fc.oneof(
    { weight: 8, arbitrary: parts.map((each) => raw(each)) },
    { weight: 1, arbitrary: fc.array(anything, { maxLength: 6 }).map((each) => raw(each)) },
    { weight: 1, arbitrary: parts.map((each) => raw(each, 'base64')) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
    {
      weight: 1,
      arbitrary: fc.string({ unit: 'binary' }).map((text) => Buffer.from(text).toString('base64url')),
    },
  );
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(cursor, async (after) => {
      for (const [ask, may] of queries) {
        try {
          const ids = await ask(after);
          if (!ids.every(may)) return false;
          answered++;
        } catch (error) {
          if (!(error instanceof InvalidItemError)) throw error;
          if (error.message.length > 1000) throw error;
        }
      }
      return true;
    }),
    { numRuns: 400 },
  );
  t.true(answered > 0, 'some were of the query');
});
