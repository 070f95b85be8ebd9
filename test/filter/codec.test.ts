import { crc32 } from 'node:zlib';
import test from 'ava';
import * as fc from 'fast-check';
import { decodeFilter, encodeFilter, FilterCorruptError } from '../../src/filter/codec.ts';
import { CuckooFilter } from '../../src/filter/cuckoo.ts';
import { MembershipFilter } from '../../src/filter/membership.ts';

/** A filter that has grown past its first table of `slots` slots when `count` is larger. */
function sample(count: number, slots = 16): { filter: MembershipFilter; ids: string[] } {
  const filter = new MembershipFilter([CuckooFilter.withSlots(slots)], 0);
  const ids = Array.from({ length: count }, (_, i) => `id.${i}`);
  for (const id of ids) filter.add(id);
  return { filter, ids };
}

/** Changes header bytes and makes the checksum right again, as a faulty writer would. */
function forge(bytes: Buffer, change: (buffer: Buffer) => void): Buffer {
  const forged = Buffer.from(bytes);
  change(forged);
  forged.writeUInt32LE(crc32(forged.subarray(16), crc32(forged.subarray(0, 12))), 12);
  return forged;
}

const corrupt = { instanceOf: FilterCorruptError, code: 'ERR_FILTER_CORRUPT', name: 'FilterCorruptError' };

test('I7: a filter that was stored and loaded answers as the one that was stored', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { maxLength: 200 }),
      fc.nat(1000),
      (ids, dead) => {
        const filter = new MembershipFilter([CuckooFilter.withSlots(16)], 0);
        for (const id of ids) filter.add(id);
        filter.noteDead(dead);
        const loaded = decodeFilter(encodeFilter(filter));
        t.deepEqual(
          loaded.links.map((link) => link.table),
          filter.links.map((link) => link.table),
        );
        t.is(loaded.count, filter.count);
        t.is(loaded.dead, dead);
        t.true(ids.every((id) => loaded.has(id)));
      },
    ),
  );
});

test('I7: a loaded filter goes on growing without losing an id', (t) => {
  const { filter, ids } = sample(100);
  const loaded = decodeFilter(encodeFilter(filter));
  const more = Array.from({ length: 500 }, (_, i) => `more.${i}`);
  for (const id of more) loaded.add(id);
  t.true([...ids, ...more].every((id) => loaded.has(id)));
});

test('I7: a loaded filter does not share memory with the bytes it came from, wherever they begin', (t) => {
  const { filter, ids } = sample(50);
  const padded = Buffer.concat([Buffer.from([0]), encodeFilter(filter)]);
  const view = new Uint8Array(padded.buffer, padded.byteOffset + 1, padded.length - 1);
  const loaded = decodeFilter(view);
  padded.fill(0);
  t.true(ids.every((id) => loaded.has(id)));
});

test('I7: the stored form is fixed, byte for byte', (t) => {
  const filter = new MembershipFilter([CuckooFilter.withSlots(8)], 0);
  filter.add('a');
  filter.add('uk.nhs.patient.1');
  filter.noteDead(3);
  t.is(encodeFilter(filter).toString('hex'), STORED);
  const loaded = decodeFilter(Buffer.from(STORED, 'hex'));
  t.true(loaded.has('a') && loaded.has('uk.nhs.patient.1'));
  t.is(loaded.dead, 3);
});

test('I7: any changed bit is noticed', (t) => {
  const bytes = encodeFilter(sample(30).filter);
  const unnoticed = Array.from({ length: bytes.length * 8 }, (_, bit) => bit).filter((bit) => {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
    return !throwsCorrupt(changed);
  });
  t.deepEqual(unnoticed, []);
});

test('I7: bytes that are missing or too many are noticed', (t) => {
  const bytes = encodeFilter(sample(30).filter);
  for (let length = 0; length < bytes.length; length++) {
    if (!throwsCorrupt(bytes.subarray(0, length))) t.fail(`cut to ${length} bytes`);
  }
  t.throws(() => decodeFilter(Buffer.concat([bytes, Buffer.alloc(2)])), corrupt);
  t.throws(() => decodeFilter(Buffer.alloc(64)), corrupt);
});

test('I10: lengths that lie are refused before memory is asked for, even when the checksum is right', (t) => {
  const bytes = encodeFilter(sample(3).filter);
  t.is(decodeFilter(forge(bytes, () => {})).count, 3);
  const lies: [lie: string, message: RegExp, change: (buffer: Buffer) => void][] = [
    ['another format', /format 2, not 1/, (buffer) => buffer.writeUInt16LE(2, 4)],
    ['no table', /0 tables do not fit/, (buffer) => buffer.writeUInt16LE(0, 6)],
    ['many tables', /65535 tables do not fit/, (buffer) => buffer.writeUInt16LE(65_535, 6)],
    ['a huge table', /does not fit/, (buffer) => buffer.writeUInt32LE(2 ** 30, 16)],
    ['a smaller table', /16 bytes too many/, (buffer) => buffer.writeUInt32LE(8, 16)],
    ['a table of 12 slots', /does not fit/, (buffer) => buffer.writeUInt32LE(12, 16)],
    ['an empty table', /does not fit/, (buffer) => buffer.writeUInt32LE(0, 16)],
    ['more used than slots', /17 used, does not fit/, (buffer) => buffer.writeUInt32LE(17, 20)],
  ];
  for (const [lie, message, change] of lies) {
    t.throws(() => decodeFilter(forge(bytes, change)), { ...corrupt, message }, lie);
  }
});

function throwsCorrupt(bytes: Uint8Array): boolean {
  try {
    decodeFilter(bytes);
    return false;
  } catch (error) {
    return error instanceof FilterCorruptError;
  }
}

const STORED = '544c4d460100010003000000dfad6ca308000000020000005fcd0000000000003ddd000000000000';
