import test from 'ava';
import { chunkSchema, parseJob } from '../../src/schema/job.ts';
import { chunkOf } from '../helpers/operations.ts';

const { job } = chunkOf([
  { id: 'a', stamp: 7, kind: 'json', body: '1', state: 'open' },
  { id: 'b', stamp: 8, kind: 'delete' },
]);

test('a chunk passes as it is', (t) => {
  t.deepEqual(chunkSchema.parse(structuredClone(job)), job);
  t.true(
    chunkSchema.safeParse({ ...job, tiers: 'ac', ttls: [1, null], traces: [null, null], atomic: true })
      .success,
  );
});

for (const [name, wrong] of [
  ['another format', { v: 2 }],
  ['no stamp', { first: 0 }],
  ['no operations', { ids: [], kinds: '', bodies: [], hashes: [] }],
  ['an empty id', { ids: ['a', ''] }],
  ['an unknown kind', { kinds: 'jx' }],
  ['columns of different length', { bodies: ['1'] }],
  ['an optional column of different length', { states: ['open'] }],
  ['an unknown route', { tiers: 'az' }],
  ['an unknown column', { extra: [] }],
] as const) {
  test(`I9: a job that no producer of ours wrote is told apart: ${name}`, (t) => {
    t.false(chunkSchema.safeParse({ ...job, ...wrong }).success);
  });
}

const bad = (count: number) =>
  JSON.stringify({ ...job, ids: Array.from({ length: count }, () => 7), traces: [7, 7] });

test('I10: a job of any number of wrong elements is told of in the same words', (t) => {
  t.deepEqual(parseJob(chunkSchema, 'c', bad(200_000)), parseJob(chunkSchema, 'c', bad(2)));
  t.deepEqual(parseJob(chunkSchema, 'c', bad(2)), {
    problem: 'ids: element 0 is not an id; traces: element 0 is not a text',
  });
});

test('I9: a job whose id or data cannot be is told apart', (t) => {
  const text = JSON.stringify(job);
  t.deepEqual(parseJob(chunkSchema, 'c', text), { data: job });
  for (const id of ['', 'a\0b', 'i'.repeat(256)]) t.true('problem' in parseJob(chunkSchema, id, text), id);
  for (const data of ['', '{', 'null', '"text"', '7', '[]'])
    t.true('problem' in parseJob(chunkSchema, 'c', data), data);
});
