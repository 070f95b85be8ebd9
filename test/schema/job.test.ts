import test from 'ava';
import { chunkSchema } from '../../src/schema/job.ts';
import { chunkOf } from '../helpers/operations.ts';

const { job } = chunkOf([
  { id: 'a', stamp: 7, kind: 'json', body: '1', state: 'open' },
  { id: 'b', stamp: 8, kind: 'delete' },
]);

test('a chunk passes as it is', (t) => {
  t.deepEqual(chunkSchema.parse(structuredClone(job)), job);
  t.true(
    chunkSchema.safeParse({ ...job, routes: 'ac', ttls: [1, null], traces: [null, null], atomic: true })
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
  ['an unknown route', { routes: 'az' }],
  ['an unknown column', { extra: [] }],
] as const) {
  test(`I9: a job that no producer of ours wrote is told apart: ${name}`, (t) => {
    t.false(chunkSchema.safeParse({ ...job, ...wrong }).success);
  });
}
