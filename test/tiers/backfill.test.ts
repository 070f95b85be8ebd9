import test from 'ava';
import { ZERO_DIGEST } from '../../src/merkle/digest.ts';
import type { StoredItem } from '../../src/schema/stored-item.ts';
import { Backfill } from '../../src/tiers/backfill.ts';

function item(id: string, body = '1', contentVersion = 1): StoredItem {
  return {
    id,
    kind: 'j',
    contentVersion,
    stateVersion: 0,
    origin: 'r',
    digest: ZERO_DIGEST,
    contentHash: '',
    state: 'default',
    body,
  };
}

/** Writes are held until they are let go, one by one. */
function heldWrites() {
  const written: StoredItem[][] = [];
  const waiting: (() => void)[] = [];
  const backfill = new Backfill(
    (items) => {
      written.push([...items]);
      return new Promise((resolve) => waiting.push(resolve));
    },
    () => 0,
  );
  return {
    backfill,
    written,
    /** Until the next write comes, or for long enough to see that none does. */
    async letGo() {
      const before = written.length;
      waiting.shift()?.();
      for (let ms = 0; ms < 200 && written.length === before; ms += 5) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  };
}

const idsOf = (chunks: readonly StoredItem[][]) => chunks.map((chunk) => chunk.map(({ id }) => id));

test('I10: one write at a time, of 500 items or a megabyte', async (t) => {
  const { backfill, written, letGo } = heldWrites();
  backfill.offer([]);
  backfill.offer([item('first')]);
  backfill.offer(Array.from({ length: 600 }, (_, n) => item(`i.${n}`)));
  backfill.offer([item('large.1', 'x'.repeat(900_000)), item('large.2', 'x'.repeat(900_000)), item('last')]);
  t.deepEqual(idsOf(written), [['first']]);
  for (let i = 0; i < 4; i++) await letGo();
  t.deepEqual(
    written.map((chunk) => chunk.length),
    [1, 500, 102, 1],
  );
  t.is(backfill.dropped, 0);
});

test('I10: what does not fit is left out, and counted', async (t) => {
  const { backfill, written, letGo } = heldWrites();
  const mega = 'x'.repeat(1024 * 1024);
  backfill.offer([item('first')]);
  backfill.offer(Array.from({ length: 20 }, (_, n) => item(`i.${n}`, mega)));
  t.is(backfill.dropped, 5, '16 MiB with what each takes beside its text');
  for (let i = 0; i < 20; i++) await letGo();
  t.is(written.flat().length, 16);
  backfill.offer([item('again', mega)]);
  t.is(written.flat().length, 17, 'there is room again');
});

test('I6: what changed while it waited is not written, and the newest of an id is', async (t) => {
  const { backfill, written, letGo } = heldWrites();
  backfill.offer([item('first')]);
  backfill.offer([item('a'), item('b'), item('c')]);
  backfill.offer([item('c', '2', 2)]);
  backfill.forget('a');
  await letGo();
  t.deepEqual(
    written[1]?.map(({ id, contentVersion }) => [id, contentVersion]),
    [
      ['b', 1],
      ['c', 2],
    ],
  );
  backfill.offer([item('d')]);
  backfill.forgetAll();
  await letGo();
  t.is(written.length, 2);
  backfill.offer([item('e')]);
  t.deepEqual(idsOf(written).at(-1), ['e'], 'it goes on after that');
});

test('I12: closing writes what waits, and gives up on a write that hangs', async (t) => {
  const { backfill, written, letGo } = heldWrites();
  backfill.offer([item('a')]);
  backfill.offer([item('b')]);
  const closed = backfill.close();
  await letGo();
  t.deepEqual(idsOf(written), [['a'], ['b']]);
  await closed;
});
