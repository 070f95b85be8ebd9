import test from 'ava';
import * as fc from 'fast-check';
import { ENTRY_OVERHEAD_BYTES, entryBytes, MemoryTier } from '../../src/tiers/memory.ts';

const TTL_MS = 1000;

/** A tier with room for `slots` entries of one-letter ids and values of 0 bytes. */
function setUp(slots = 4) {
  const clock = { ms: 0 };
  const maxBytes = slots * entryBytes('a', 0);
  const tier = new MemoryTier<string>({ maxBytes, ttlMs: TTL_MS, jitter: () => 0, now: () => clock.ms });
  return { clock, maxBytes, tier };
}

function ids<V>(tier: MemoryTier<V>): string {
  return [...tier.entries()]
    .map(([id]) => id)
    .toSorted()
    .join('');
}

test('I6 I10: after any calls, get gives the value last set or nothing, and size and sizeBytes are exact', (t) => {
  const id = fc.constantFrom('', 'a', 'bb', 'ccc', 'dddd', 'é', 'long'.repeat(10), '日本');
  const bytes = fc.oneof(
    fc.nat(200),
    fc.nat(200),
    fc.constantFrom(0, 5000),
    fc.double({ min: 0, max: 100, noNaN: true }),
  );
  const step = fc.oneof(
    { weight: 30, arbitrary: fc.record({ kind: fc.constant('set'), id, bytes }) },
    { weight: 15, arbitrary: fc.record({ kind: fc.constantFrom('get', 'peek'), id }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete'), id }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.nat(Math.trunc(TTL_MS / 3)) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear') }) },
  );
  fc.assert(
    fc.property(fc.nat(2000), fc.array(step, { maxLength: 200, size: 'max' }), (maxBytes, steps) => {
      const clock = { ms: 0 };
      const tier = new MemoryTier<number>({ maxBytes, ttlMs: TTL_MS, jitter: () => 50, now: () => clock.ms });
      const last = new Map<string, { value: number; bytes: number; expiresAt: number }>();
      for (const [value, next] of steps.entries()) {
        if ('bytes' in next) {
          tier.set(next.id, value, next.bytes);
          const cost = entryBytes(next.id, next.bytes);
          last.set(next.id, { value, bytes: cost, expiresAt: clock.ms + TTL_MS + 50 });
          t.is(tier.peek(next.id), cost <= maxBytes ? value : undefined, 'what fits is kept at once');
        } else if ('ms' in next) {
          clock.ms += next.ms;
        } else if (!('id' in next)) {
          tier.clear();
          last.clear();
        } else if (next.kind === 'delete') {
          const had = [...tier.entries()].some(([key]) => key === next.id);
          t.is(tier.delete(next.id), had);
          last.delete(next.id);
        } else {
          const expected = last.get(next.id);
          const peeked = tier.peek(next.id);
          const got = next.kind === 'get' ? tier.get(next.id) : peeked;
          t.is(got, peeked);
          if (got !== undefined) {
            t.true(got === expected?.value);
            t.true(clock.ms < (expected?.expiresAt ?? 0), 'nothing is given out after its time');
          }
        }
        const held = [...tier.entries()];
        for (const [key, entry] of held) t.deepEqual(entry, last.get(key));
        t.is(tier.size, held.length);
        t.is(tier.isEmpty, held.length === 0);
        t.true(Math.abs(tier.sizeBytes - held.reduce((sum, [, entry]) => sum + entry.bytes, 0)) < 1e-6);
        t.true(tier.sizeBytes <= maxBytes);
      }
    }),
    { numRuns: 300 },
  );
});

test('I6: a value too large to keep takes the older value of its id with it', (t) => {
  const { tier, maxBytes } = setUp();
  tier.set('a', 'old', 0);
  tier.set('b', 'other', 0);
  tier.set('a', 'new', maxBytes);
  t.is(tier.get('a'), undefined);
  t.is(tier.get('b'), 'other');
  t.is(tier.sizeBytes, entryBytes('b', 0));
  t.is(tier.counters.evictions, 1);
});

test('I6: an entry is given out until its time and not at it; a get drops it, a peek does not', (t) => {
  const { tier, clock } = setUp();
  tier.set('a', 'value', 0);
  clock.ms = TTL_MS - 1;
  t.is(tier.get('a'), 'value');
  clock.ms = TTL_MS;
  t.is(tier.peek('a'), undefined);
  t.is(tier.size, 1);
  t.is(tier.get('a'), undefined);
  t.is(tier.size, 0);
  t.is(tier.sizeBytes, 0);
  t.deepEqual(tier.counters, { evictions: 0, expirations: 1 });
});

test('I6: reading does not lengthen an entry, setting it again does', (t) => {
  const { tier, clock } = setUp();
  tier.set('a', '1', 0);
  tier.set('b', '1', 0);
  clock.ms = TTL_MS - 1;
  tier.get('a');
  tier.set('b', '2', 0);
  clock.ms = TTL_MS;
  t.is(tier.get('a'), undefined);
  t.is(tier.get('b'), '2');
});

test('I6: jitter is added to each entry, within a tenth of the time to live by default', (t) => {
  let jitterMs = 0;
  const options = { maxBytes: 10_000, ttlMs: TTL_MS, now: () => 0 };
  const chosen = new MemoryTier<string>({ ...options, jitter: () => (jitterMs += 10) });
  chosen.set('a', '', 0);
  chosen.set('b', '', 0);
  t.deepEqual(
    [...chosen.entries()].map(([, entry]) => entry.expiresAt),
    [1010, 1020],
  );
  const usual = new MemoryTier<number>({ ...options, maxBytes: 1e6 });
  for (let i = 0; i < 1000; i++) usual.set(`id${i}`, i, 0);
  const times = [...usual.entries()].map(([, entry]) => entry.expiresAt);
  t.true(times.every((time) => time >= TTL_MS && time <= TTL_MS * 1.1));
  t.true(new Set(times).size > 50);
  const forever = new MemoryTier<number>({ ...options, ttlMs: Number.POSITIVE_INFINITY });
  forever.set('a', 1, 0);
  t.is(forever.get('a'), 1);
});

test('I10: room is made by putting out what was not read since the hand last passed', (t) => {
  const { tier } = setUp(4);
  for (const id of ['a', 'b', 'c', 'd']) tier.set(id, id, 0);
  tier.get('a');
  tier.get('c');
  tier.set('e', 'e', 0);
  t.is(ids(tier), 'acde', 'the hand spares a and takes b');
  tier.set('f', 'f', 0);
  t.is(ids(tier), 'acef', 'it goes on from there: spares c and takes d');
  tier.set('g', 'g', 0);
  t.is(ids(tier), 'acfg');
  t.deepEqual(tier.counters, { evictions: 3, expirations: 0 });
});

test('I10: when all were read, the hand goes round and the oldest goes', (t) => {
  const { tier } = setUp(3);
  for (const id of ['a', 'b', 'c']) tier.set(id, id, 0);
  for (const id of ['a', 'b', 'c']) tier.get(id);
  tier.set('d', 'd', 0);
  t.is(ids(tier), 'bcd');
});

test('I10: an entry set again counts as read', (t) => {
  const { tier } = setUp(3);
  for (const id of ['a', 'b', 'c', 'a']) tier.set(id, id, 0);
  tier.get('b');
  tier.get('c');
  tier.set('d', 'd', 0);
  t.is(ids(tier), 'acd');
});

test('I10: a scan of ids read once does not put out the ids that are read again', (t) => {
  const { tier } = setUp(10);
  tier.set('a', 'hot', 0);
  tier.get('a');
  for (let i = 0; i < 1000; i++) {
    tier.set(String.fromCharCode(0x100 + i), 'scan', 0);
    if (i % 5 === 0) t.is(tier.get('a'), 'hot');
  }
  t.is(tier.size, 10);
});

test('I10: the expired go first, and count as expired', (t) => {
  const { tier, clock } = setUp(3);
  tier.set('a', '', 0);
  tier.get('a');
  clock.ms = 500;
  tier.set('b', '', 0);
  tier.set('c', '', 0);
  clock.ms = TTL_MS;
  tier.set('d', '', 0);
  t.is(ids(tier), 'bcd');
  t.deepEqual(tier.counters, { evictions: 0, expirations: 1 });
});

test('I10: clear empties the tier and leaves it in working order', (t) => {
  const { tier } = setUp(2);
  for (const id of ['a', 'b', 'c']) tier.set(id, id, 0);
  t.false(tier.isEmpty);
  tier.clear();
  t.true(tier.isEmpty);
  t.is(tier.sizeBytes, 0);
  for (const id of ['a', 'b', 'c', 'd']) tier.set(id, id, 0);
  t.is(ids(tier), 'cd');
});

test('I10: the overhead counted is what an entry takes in memory', (t) => {
  t.is(entryBytes('ab', 10), 10 + ENTRY_OVERHEAD_BYTES + 4);
  const { tier } = setUp();
  tier.set('a', '', 7);
  t.is(tier.sizeBytes, entryBytes('a', 7));
});

test('I10: sizes that cannot be counted are refused, and the tier stays as it was', (t) => {
  const { tier } = setUp();
  tier.set('a', 'old', 0);
  for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => tier.set('a', 'new', bad), { instanceOf: RangeError });
  }
  t.is(tier.get('a'), 'old');
  t.throws(() => new MemoryTier({ maxBytes: Number.NaN, ttlMs: 1 }), { instanceOf: RangeError });
  t.throws(() => new MemoryTier({ maxBytes: -1, ttlMs: 1 }), { instanceOf: RangeError });
  t.throws(() => new MemoryTier({ maxBytes: 1, ttlMs: 0 }), { instanceOf: RangeError });
});
