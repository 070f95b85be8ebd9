import type {
  HashNode,
  LeafItem,
  LeafOptions,
  MerkleDiff,
  MerkleDifference,
  MerklePeer,
} from '../types/merkle.ts';

/** About how many items are listed at once: half a megabyte. */
const LISTED_ITEMS = 5000;

type Both = <T>(ask: (peer: MerklePeer) => Promise<T>) => Promise<[T, T]>;

function bothOf(here: MerklePeer, there: MerklePeer): Both {
  return (ask) => Promise.all([ask(here), ask(there)]);
}

interface Found extends MerkleDifference {
  /** Both digests. A write under way explains a difference once; the same one seen twice is real. */
  readonly evidence: string;
}

/**
 * Finds the live items that two stores do not agree on: root, then the nodes that differ at 8, 12 and 16 bits, then the ids in
 * those leaves. Ten differences among a million items take 18 KB in five round trips (anti-entropy as in Amazon's Dynamo,
 * SOSP 2007). A write under way reaches one side first. What differs is therefore compared again after `pause`, and reported
 * only when it differs in the same way.
 * @param pause undefined: no second look, and writes under way are told too. The second look lists the leaves again.
 * @param limit most differences; `more` tells whether others were left out
 * @param admitted rejects when the two cannot be compared; asked for together with the roots
 */
export async function diffTrees(
  here: MerklePeer,
  there: MerklePeer,
  limit: number,
  pause: (() => Promise<void>) | undefined,
  admitted: Promise<void> = Promise.resolve(),
): Promise<MerkleDiff> {
  const both = bothOf(here, there);
  const [[root, peerRoot]] = await Promise.all([both((peer) => peer.root()), admitted]);
  const differences: MerkleDifference[] = [];
  if (root.digest === peerRoot.digest && root.count === peerRoot.count) return { differences, more: false };

  const pages = pagesOf(await differingLeaves(both));
  for (let at = 0; at < pages.length && differences.length <= limit; ) {
    // List pages until there are enough suspects for the limit. When the second look clears them all, go on with the next
    // pages.
    const suspects = new Map<string, Found>();
    const from = at;
    for (; at < pages.length && suspects.size <= limit - differences.length; at++) {
      for (const found of await listed(both, pages[at])) suspects.set(found.id, found);
    }
    if (suspects.size === 0) break;
    if (pause === undefined) {
      for (const { evidence: _evidence, ...difference } of suspects.values()) differences.push(difference);
      continue;
    }
    await pause();
    for (const page of pages.slice(from, at)) {
      for (const { evidence, ...difference } of await listed(both, page)) {
        if (suspects.get(difference.id)?.evidence === evidence) differences.push(difference);
      }
    }
  }
  return { differences: differences.slice(0, limit), more: differences.length > limit };
}

/** @param week as in `LeafOptions` */
async function listed(both: Both, leaves: readonly number[] = [], week = 0): Promise<Found[]> {
  return compared(
    ...(await both((peer) => (week === 0 ? peer.leafItems(leaves) : peer.leafItems(leaves, { week })))),
  );
}

/**
 * The rows of one week, 0 for the live items, that differ there, in groups.
 * @param pause before a second look, after which only what differs in the same way is left; without it writes under way are among them
 */
export async function* differingRows(
  here: MerklePeer,
  there: MerklePeer,
  week: number,
  pause?: () => Promise<void>,
): AsyncGenerator<readonly MerkleDifference[]> {
  const both = bothOf(here, there);
  for (const page of pagesOf(await differingLeaves(both, week))) {
    const found = await listed(both, page, week);
    if (pause === undefined || found.length === 0) {
      yield found;
      continue;
    }
    const before = new Map(found.map(({ id, evidence }) => [id, evidence]));
    await pause();
    const again = await listed(both, page, week);
    yield again.filter(({ id, evidence }) => before.get(id) === evidence);
  }
}

/** The leaves in order, in groups that hold about `LISTED_ITEMS` items. */
function pagesOf(nodes: readonly DifferingNode[]): number[][] {
  const pages: number[][] = [];
  let room = 0;
  for (const { node, count } of nodes) {
    if (room <= 0) {
      pages.push([]);
      room = LISTED_ITEMS;
    }
    pages.at(-1)?.push(node);
    room -= count;
  }
  return pages;
}

/** `count`: how many items the larger side has. */
interface DifferingNode {
  readonly node: number;
  readonly count: number;
}

async function differingLeaves(both: Both, week = 0): Promise<DifferingNode[]> {
  const differing = async (depths: LeafOptions) => {
    const options = week === 0 ? depths : { ...depths, week };
    return differingNodes(...(await both((peer) => peer.leaves(options))));
  };
  let nodes = await differing({ bits: 8 });
  for (const [bits, outer] of [
    [12, 8],
    [16, 12],
  ] as const) {
    if (nodes.length === 0) break;
    nodes = await differing({ bits, within: { bits: outer, nodes: nodes.map(({ node }) => node) } });
  }
  return nodes;
}

function differingNodes(here: readonly HashNode[], there: readonly HashNode[]): DifferingNode[] {
  const theirs = new Map(there.map((node) => [node.node, node]));
  const differing: DifferingNode[] = [];
  for (const { node, count, digest } of here) {
    const other = theirs.get(node);
    theirs.delete(node);
    if (other?.count !== count || other.digest !== digest) {
      differing.push({ node, count: Math.max(count, other?.count ?? 0) });
    }
  }
  return [...differing, ...theirs.values()].sort((a, b) => a.node - b.node);
}

function compared(here: readonly LeafItem[], there: readonly LeafItem[]): Found[] {
  const theirs = new Map(there.map((item) => [item.id, item]));
  const found: Found[] = [];
  for (const item of here) {
    const other = theirs.get(item.id);
    theirs.delete(item.id);
    if (other?.digest !== item.digest) found.push(differenceOf(item.id, item, other));
  }
  for (const [id, item] of theirs) found.push(differenceOf(id, undefined, item));
  return found;
}

function differenceOf(id: string, here: LeafItem | undefined, there: LeafItem | undefined): Found {
  return {
    id,
    ...(here === undefined ? {} : { here: here.version }),
    ...(there === undefined ? {} : { there: there.version }),
    evidence: `${here?.digest ?? ''}/${there?.digest ?? ''}`,
  };
}
