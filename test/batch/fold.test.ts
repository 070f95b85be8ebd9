import test from 'ava';
import * as fc from 'fast-check';
import { foldOps, newestStamps, opsOf } from '../../src/batch/fold.ts';
import { Digester, xorDigests } from '../../src/merkle/digest.ts';
import { modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';

const id = fc.constantFrom('a', 'b', 'c', 'é', '😀', '\uffee');
const state = fc.constantFrom('default', 'open', 'closed');
const write = fc.oneof(
  fc.record({ kind: fc.constant('json' as const), id, body: fc.json({ maxDepth: 1 }) }),
  fc.record({ kind: fc.constant('json' as const), id, body: fc.json({ maxDepth: 1 }), state }),
  fc.record({ kind: fc.constant('binary' as const), id, body: fc.constantFrom('', 'AAEC') }),
  fc.record({ kind: fc.constant('delete' as const), id }),
  fc.record({ kind: fc.constant('state' as const), id, state }),
);
const ops = fc
  .array(write, { minLength: 1, maxLength: 30 })
  .map((list): TestOp[] => list.map((op, i) => ({ ...op, stamp: 1_000 + i })));
const digester = new Digester();

test('I2: a batch folds to the newest of each register, whatever the order and repetition of its operations', (t) => {
  const property = fc.property(
    ops.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray([...list, ...list], { minLength: list.length })),
    ),
    ([list, some]) => {
      // All of them at least once, and then some again in any order: the newest is not the last to come.
      const written = [...list, ...some];
      const rows = foldOps(
        written.flatMap((op) => [...opsOf(chunkOf([op]))]),
        digester,
      );
      const folded = new Map(rows.map((row) => [row.id, row]));
      const model = modelRows(list);
      t.is(rows.length, model.length);
      for (const {
        id: name,
        contentVersion,
        stateVersion,
        deleted,
        body,
        kind,
        state: expected,
        digest,
      } of model) {
        const row = folded.get(name);
        t.like(row, {
          contentVersion,
          stateVersion,
          deleted,
          body: body ?? '',
          state: expected,
          binary: kind === 'binary',
        });
        t.is(xorDigests(row?.contentDigest ?? '', row?.stateDigest ?? ''), digest);
      }
    },
  );
  fc.assert(property, { numRuns: 200 });
});

test('rows come sorted, each id once: concurrent batches lock in one order', (t) => {
  const property = fc.property(ops, (list) => {
    const ids = foldOps(opsOf(chunkOf(list)), digester).map((row) => row.id);
    t.deepEqual(ids, [...new Set(ids)].toSorted());
  });
  fc.assert(property);
});

test('tiers, ttl and trace are those of the newest content', (t) => {
  const chunk = chunkOf([
    { id: 'a', stamp: 5, kind: 'json', body: '1' },
    { id: 'a', stamp: 6, kind: 'json', body: '2' },
    { id: 'a', stamp: 7, kind: 'state', state: 'open' },
  ]);
  const job = { ...chunk.job, tiers: 'dca', ttls: [10, 20, null], traces: ['t1', null, null] };
  const [row] = foldOps(opsOf({ ...chunk, job }), digester);
  t.like(row, {
    body: '2',
    tiers: 'cache',
    ttlMs: 20,
    traceParent: null,
    state: 'open',
    stateVersion: 7,
    contentVersion: 6,
  });
});

test('what a batch settles of an id is its newest stamp, be it of the content or of the state', (t) => {
  const written = chunkOf([
    { id: 'a', stamp: 5, kind: 'json', body: '1' },
    { id: 'a', stamp: 6, kind: 'state', state: 'open' },
    { id: 'b', stamp: 7, kind: 'delete' },
  ]);
  // Rows of another deployment have two stamps each.
  const moved = { ...written, job: { ...written.job, stamps: [3, 0, 9], stateStamps: [8, 4, 2] } };
  t.deepEqual(
    [...newestStamps(opsOf(written))],
    [
      ['a', 6],
      ['b', 7],
    ],
  );
  t.deepEqual(
    [...newestStamps(opsOf(moved))],
    [
      ['a', 8],
      ['b', 9],
    ],
  );
});
