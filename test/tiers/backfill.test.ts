import test from 'ava';
import { ZERO_DIGEST } from '../../src/merkle/digest.ts';
import type { StoredItem } from '../../src/schema/stored-item.ts';
import { Backfill } from '../../src/tiers/copy-tier.ts';

function item(id: string, body = '1', contentVersion = 1): StoredItem {
  return {
    id,
    kind: 'json',
    contentVersion,
    stateVersion: 0,
    tiers: 'all',
    digest: ZERO_DIGEST,
    contentHash: '',
    state: 'default',
    body,
  };
}

/** Writes are held until they are let go, one by one. Looks are numbers, of which those below `oldest` are too old. */
function heldWrites() {
  const looks = { now: 0, oldest: 0 };
  const written: StoredItem[][] = [];
  const waiting: (() => void)[] = [];
  let onWrite: (() => void) | undefined;
  const backfill = new Backfill<number>(
    (items) => {
      written.push([...items]);
      onWrite?.();
      return new Promise((resolve) => waiting.push(resolve));
    },
    (look) => look >= looks.oldest,
    () => 0,
  );
  const release = () => waiting.shift()?.();
  return {
    backfill,
    looks,
    offer: (items: readonly StoredItem[]) => backfill.offer(items, looks.now),
    written,
    /** Lets one write go, offers items if there are any, and waits for the next write. */
    async letGo(...items: readonly StoredItem[]) {
      const next = new Promise<void>((resolve) => {
        onWrite = resolve;
      });
      release();
      if (items.length > 0) backfill.offer(items, looks.now);
      await next;
    },
  };
}

const idsOf = (chunks: readonly StoredItem[][]) => chunks.map((chunk) => chunk.map(({ id }) => id));

test('I10: one write at a time, of 500 items or a megabyte', async (t) => {
  const { backfill, offer, written, letGo } = heldWrites();
  offer([]);
  offer([item('first')]);
  offer(Array.from({ length: 600 }, (_, n) => item(`i.${n}`)));
  offer([item('large.1', 'x'.repeat(900_000)), item('large.2', 'x'.repeat(900_000)), item('last')]);
  t.deepEqual(idsOf(written), [['first']]);
  for (let i = 0; i < 3; i++) await letGo();
  t.deepEqual(
    written.map((chunk) => chunk.length),
    [1, 500, 102, 1],
  );
  t.is(backfill.dropped, 0);
});

test('I10: what does not fit is left out, and counted', async (t) => {
  const { backfill, offer, written, letGo } = heldWrites();
  const mega = 'x'.repeat(1024 * 1024);
  offer([item('first')]);
  offer(Array.from({ length: 20 }, (_, n) => item(`i.${n}`, mega)));
  t.is(backfill.dropped, 5, '16 MiB with what each takes beside its text');
  for (let i = 0; i < 15; i++) await letGo();
  t.is(written.flat().length, 16);
  await letGo(item('again', mega));
  t.is(written.flat().length, 17, 'there is room again');
});

test('I6: what changed while it waited is not written, and the newest of an id is', async (t) => {
  const { backfill, offer, written, letGo } = heldWrites();
  offer([item('first')]);
  offer([item('a'), item('b'), item('c')]);
  offer([item('c', '2', 2)]);
  backfill.forget('a');
  await letGo();
  t.deepEqual(
    written[1]?.map(({ id, contentVersion }) => [id, contentVersion]),
    [
      ['b', 1],
      ['c', 2],
    ],
  );
  offer([item('d')]);
  backfill.forgetAll();
  t.is(written.length, 2);
  await letGo(item('e'));
  t.deepEqual(idsOf(written).slice(2), [['e']], 'it goes on after that');
});

test('I6: what waited until its look at Postgres was too old is left out, and counted', async (t) => {
  const { backfill, looks, offer, written, letGo } = heldWrites();
  offer([item('first')]);
  offer([item('a'), item('b')]);
  looks.now = 1;
  offer([item('c')]);
  looks.oldest = 1;
  await letGo();
  t.deepEqual(idsOf(written), [['first'], ['c']]);
  t.is(backfill.dropped, 2);
  looks.oldest = 2;
  offer([item('d')]);
  looks.now = 2;
  t.is(written.length, 2);
  await letGo(item('e'));
  t.deepEqual(idsOf(written).slice(2), [['e']], 'it goes on after that');
});

test('I12: closing writes what waits, and gives up on a write that hangs', async (t) => {
  const { backfill, offer, written, letGo } = heldWrites();
  offer([item('a')]);
  offer([item('b')]);
  const closed = backfill.close();
  await letGo();
  t.deepEqual(idsOf(written), [['a'], ['b']]);
  await closed;
});

test('I4 I6: an item of an old look that comes behind one of a newer look is not written with it', async (t) => {
  const { backfill, looks, written, letGo } = heldWrites();
  backfill.offer([item('first')], 2);
  backfill.offer([item('new')], 2);
  backfill.offer([item('old')], 1);
  looks.oldest = 2;
  await letGo();
  backfill.offer([item('next')], 2);
  backfill.offer([item('of another look')], 3);
  await letGo();
  await letGo();
  t.deepEqual(idsOf(written), [['first'], ['new'], ['next'], ['of another look']]);
  t.is(backfill.dropped, 1);
});

test('an item that came too late does not end the writing of those after it', async (t) => {
  const { backfill, looks, written } = heldWrites();
  looks.oldest = 2;
  backfill.offer([item('late')], 1);
  backfill.offer([item('next')], 2);
  await Promise.resolve();
  t.deepEqual(idsOf(written), [['next']]);
});
