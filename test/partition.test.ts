import test from 'ava';
import fc from 'fast-check';
import { keyHash } from '../src/merkle/digest.ts';
import { hashTagOf, MAX_PARTITIONS, partitionOf } from '../src/partition.ts';

const COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const id = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
  fc.string({ unit: fc.constantFrom('{', '}', 'a', 'b', '✓'), minLength: 1, maxLength: 12 }),
);
const plain = fc.string({ unit: fc.constantFrom('a', 'b', '✓', '.', '}'), minLength: 0, maxLength: 8 });

test('the tag of an id is what Redis Cluster takes', (t) => {
  const tags = {
    '{order.17}.lines': 'order.17',
    'a{b}c{d}': 'b',
    '{}': '{}',
    '{}{a}': '{}{a}',
    '{': '{',
    '}{': '}{',
    '}{a}': 'a',
    '{{a}}': '{a',
    'a{b': 'a{b',
    'a}b': 'a}b',
  };
  for (const [name, tag] of Object.entries(tags)) t.is(hashTagOf(name), tag, name);
});

test('ids with one tag are in one partition, whatever the number of partitions', (t) => {
  const tag = fc.string({ unit: fc.constantFrom('a', 'b', '{', '.', '✓'), minLength: 1, maxLength: 8 });
  const before = plain.filter((text) => !text.includes('{'));
  fc.assert(
    fc.property(tag, before, id, before, id, (name, head1, tail1, head2, tail2) => {
      const [a, b] = [`${head1}{${name}}${tail1}`, `${head2}{${name}}${tail2}`];
      for (const count of COUNTS) t.is(partitionOf(a, count), partitionOf(b, count));
    }),
  );
});

test('a partition is a subtree of the hash tree, and twice as many partitions split each in two', (t) => {
  fc.assert(
    fc.property(id, (name) => {
      for (const count of COUNTS) {
        t.is(partitionOf(name, count), Math.floor((keyHash(name) * count) / 2 ** 31));
        if (count < MAX_PARTITIONS) t.is(partitionOf(name, 2 * count) >> 1, partitionOf(name, count));
      }
    }),
  );
});

test('ids spread over all partitions', (t) => {
  const found = new Set(Array.from({ length: 10_000 }, (_, n) => partitionOf(`k.${n}`, MAX_PARTITIONS)));
  t.is(found.size, MAX_PARTITIONS);
});
