import test from 'ava';
import * as fc from 'fast-check';
import { diffTrees } from '../../src/merkle/diff.ts';
import { Digester, leafOf, xorDigests, ZERO_DIGEST } from '../../src/merkle/digest.ts';
import type { LeafItem, MerkleNode, MerklePeer } from '../../src/types/merkle.ts';

const digester = new Digester();

/** A store in memory: ids with versions, all of them as if deleted at it. */
class Peer implements MerklePeer {
  readonly items: Map<string, number>;
  listed = 0;

  constructor(items: Iterable<readonly [string, number]>) {
    this.items = new Map(items);
  }

  #node(ids: readonly string[]): MerkleNode {
    const digest = ids.reduce((sum, id) => xorDigests(sum, this.item(id).digest), ZERO_DIGEST);
    return { count: ids.length, digest };
  }

  item(id: string): LeafItem {
    const version = this.items.get(id) as number;
    return { id, version, digest: digester.content(id, version, undefined) };
  }

  root() {
    return Promise.resolve(this.#node([...this.items.keys()]));
  }

  leaves({ bits = 16, within }: Parameters<MerklePeer['leaves']>[0]) {
    const groups = new Map<number, string[]>();
    const nodes = within && new Set(within.nodes);
    for (const id of this.items.keys()) {
      const leaf = leafOf(id);
      if (nodes !== undefined && !nodes.has(leaf >> (16 - (within?.bits ?? 0)))) continue;
      const node = leaf >> (16 - bits);
      const group = groups.get(node);
      if (group === undefined) groups.set(node, [id]);
      else group.push(id);
    }
    return Promise.resolve([...groups].map(([node, ids]) => ({ node, ...this.#node(ids) })));
  }

  leafItems(leaves: readonly number[]) {
    this.listed += leaves.length;
    const wanted = new Set(leaves);
    const ids = [...this.items.keys()].filter((id) => wanted.has(leafOf(id)));
    return Promise.resolve(ids.map((id) => this.item(id)));
  }
}

/** It can be asked for items by id, too. */
class PeerById extends Peer {
  readonly asked: string[] = [];

  itemsOf(ids: readonly string[]) {
    this.asked.push(...ids);
    return Promise.resolve(ids.filter((id) => this.items.has(id)).map((id) => this.item(id)));
  }
}

const stores = fc
  .array(
    fc.tuple(
      fc.integer({ min: 0, max: 5000 }).map((n) => `id.${n}`),
      fc.option(fc.integer({ min: 1, max: 3 })),
      fc.option(fc.integer({ min: 1, max: 3 })),
    ),
    { maxLength: 60 },
  )
  .map((rows) => {
    const side = (of: 1 | 2) => rows.flatMap((row) => (row[of] === null ? [] : [[row[0], row[of]] as const]));
    return [new Peer(side(1)), new Peer(side(2))] as const;
  });

type Row = readonly [id: string, here: number | undefined, there: number | undefined];
const byId = ([a]: Row, [b]: Row) => (a < b ? -1 : 1);

function expectedOf(here: Peer, there: Peer): Row[] {
  return [...new Set([...here.items.keys(), ...there.items.keys()])]
    .filter((id) => here.items.get(id) !== there.items.get(id))
    .map((id) => [id, here.items.get(id), there.items.get(id)] as const)
    .sort(byId);
}

const asRows = (differences: readonly { id: string; here?: number; there?: number }[]) =>
  differences.map(({ id, here, there }) => [id, here, there] as const).sort(byId);

test('I5: exactly the ids that differ are found, with both versions', async (t) => {
  await fc.assert(
    fc.asyncProperty(stores, async ([here, there]) => {
      const { differences, more } = await diffTrees(here, there, 1000, () => Promise.resolve());
      t.deepEqual(asRows(differences), expectedOf(here, there));
      t.false(more);
    }),
  );
});

test('without a pause there is one look, which tells all that differs in it', async (t) => {
  const here = new Peer([
    ['a', 1],
    ['b', 2],
  ]);
  const there = new Peer([['a', 1]]);
  const { differences, more } = await diffTrees(here, there, 1000, undefined);
  t.deepEqual(differences, [{ id: 'b', here: 2 }]);
  t.false(more);
  t.is(here.listed, 1);
});

test('I10: the second look asks for what differed, and not for all that is in its leaves', async (t) => {
  const ids = Array.from({ length: 12_000 }, (_, n) => `id.${n}`);
  const there = new PeerById(ids.map((id) => [id, 1]));
  const here = new PeerById(ids.map((id, n) => [id, n % 1000 === 0 ? 2 : 1]));
  const expected = expectedOf(here, there);
  const { differences } = await diffTrees(here, there, 100, () => Promise.resolve());
  t.deepEqual(asRows(differences), expected);
  t.deepEqual(
    there.asked.toSorted(),
    expected.map(([id]) => id),
  );
  t.is(there.listed, 12, 'leaves, listed once');
});

test('what changes between two looks is a write on its way, and not told', async (t) => {
  await fc.assert(
    fc.asyncProperty(stores, fc.array(fc.nat(), { maxLength: 20 }), async ([here, there], picks) => {
      const before = expectedOf(here, there);
      const ids = [...here.items.keys(), ...there.items.keys()];
      const { differences } = await diffTrees(here, there, 1000, () => {
        for (const pick of ids.length === 0 ? [] : picks) {
          there.items.set(ids[pick % ids.length] as string, (pick % 3) + 1);
        }
        return Promise.resolve();
      });
      const after = new Set(expectedOf(here, there).map((row) => JSON.stringify(row)));
      t.deepEqual(
        asRows(differences),
        before.filter((row) => after.has(JSON.stringify(row))),
      );
    }),
  );
});

test('drift is found behind any number of writes on their way', async (t) => {
  const ids = Array.from({ length: 12_000 }, (_, n) => `id.${n}`).sort((a, b) => leafOf(a) - leafOf(b));
  const here = new Peer(ids.map((id) => [id, 1]));
  const there = new Peer(ids.map((id) => [id, 2]));
  const last = ids.at(-1) as string;
  const { differences, more } = await diffTrees(here, there, 1, () => {
    for (const id of ids) if (id !== last) there.items.set(id, 1);
    return Promise.resolve();
  });
  t.deepEqual(differences, [{ id: last, here: 1, there: 2 }]);
  t.false(more);
});

test('I10: no more than the limit is told, and that there is more', async (t) => {
  const ids = Array.from({ length: 12_000 }, (_, n) => [`id.${n}`, 1] as const);
  const full = new Peer(ids);
  const { differences, more } = await diffTrees(full, new Peer([]), 10, () => Promise.resolve());
  t.is(differences.length, 10);
  t.true(more);
  t.true(full.listed < 12_000, 'the rest is not listed');
  const all = await diffTrees(new Peer([]), full, 12_000, () => Promise.resolve());
  t.is(all.differences.length, 12_000);
  t.false(all.more);
});
