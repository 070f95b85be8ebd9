import test from 'ava';
import { bucketOf, ITEM_BUCKETS, keysOf, parseCopyKey } from '../src/keys.ts';

const COUNT = 64_000;
const IDS: Readonly<Record<string, (n: number) => string>> = {
  numbers: (n) => `${n}`,
  'numbers in the middle': (n) => `user:${n}:profile`,
  'numbers in the middle of long ids': (n) => `tenant.acme.region.eu.service.orders.order.${n}.line.1`,
  unicode: (n) => `größe.${String.fromCodePoint(0x4e00 + (n % 20_000))}.${n % 7}`,
};

for (const [what, idOf] of Object.entries(IDS)) {
  test(`copies spread over the buckets: ${what}`, (t) => {
    const counts = Array.from({ length: ITEM_BUCKETS }, () => 0);
    const ids = new Set(Array.from({ length: COUNT }, (_, n) => idOf(n)));
    for (const id of ids) counts[bucketOf(id)]!++;
    const mean = ids.size / ITEM_BUCKETS;
    t.true(Math.max(...counts) < 1.5 * mean && Math.min(...counts) > 0.5 * mean, counts.join(' '));
  });
}

test('the hash tag of a copy is its bucket, whatever braces its id holds', (t) => {
  const keys = keysOf('ns');
  for (const id of ['a', '{b}', 'x{y}z', '}{', ':', 'a:b', '{1}:g2:c']) {
    const key = keys.copies('g1').item(id);
    t.is(key, `ns:item:{${bucketOf(id)}}:g1:${id}`);
    t.deepEqual(parseCopyKey(keys, key), { generation: 'g1', id });
  }
  t.is(parseCopyKey(keys, keys.copies('g1').epoch(3)), undefined);
});
