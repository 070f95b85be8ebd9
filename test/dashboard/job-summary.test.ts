import test from 'ava';
import { jobSummary, visibleData } from '../../src/dashboard/bull-board.ts';

const chunk = {
  v: 1,
  first: 1_700_000_000_000_000,
  ids: ['a', 'b', 'c', 'd', 'e', 'f'],
  kinds: 'jjbjds',
  bodies: ['"secret"', '"ü"', 'c2VjcmV0', '1', '', ''],
  hashes: ['', '', '', '', '', ''],
};

test('a chunk is shown by its operations, items, bytes and first ids, without its contents', (t) => {
  t.deepEqual(jobSummary(chunk), {
    operations: { 'put (JSON)': 3, 'put (binary)': 1, delete: 1, 'set state': 1 },
    items: 6,
    bytes: 8 + 4 + 8 + 1,
    firstIds: ['a', 'b', 'c', 'd', 'e'],
    firstVersion: 1_700_000_000_000_000,
  });
  t.like(jobSummary({ ...chunk, atomic: true }), { atomic: true });
});

test('a range delete is shown by what it deletes', (t) => {
  t.deepEqual(jobSummary({ v: 1, kind: 'prefix', value: 'uk.', stamp: 5 }), {
    operation: 'delete prefix',
    prefix: 'uk.',
    version: 5,
  });
});

test('a job that no producer of ours wrote shows its size and nothing of what it holds', (t) => {
  t.deepEqual(jobSummary({ password: 'secret' }), { operation: 'unknown', bytes: 21 });
  t.deepEqual(jobSummary(undefined), { operation: 'unknown', bytes: 0 });
});

test('job data is shown as it is, with escapes for what cannot be seen', (t) => {
  const data = { ids: ['gnp\u202Eexe', 'plain'], n: 1, none: null };
  t.deepEqual(visibleData(data), { ids: ['gnp\\u202eexe', 'plain'], n: 1, none: null });
  t.is(visibleData(undefined), undefined);
});

test('the summary of a chunk shows its first ids with escapes', (t) => {
  const summary = jobSummary({
    v: 1,
    first: 1,
    ids: ['gnp\u202Eexe'],
    kinds: 'j',
    bodies: ['1'],
    hashes: ['6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b'],
  });
  t.like(summary, { firstIds: ['gnp\\u202eexe'] });
});
