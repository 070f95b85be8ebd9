import type {
  HashNode,
  LeafItem,
  LeafOptions,
  MerkleDiff,
  MerkleDifference,
  MerklePeer,
} from '../types/merkle.ts';
import { MAX_PEER_ROWS } from '../schema/options.ts';
import { leafOf } from './digest.ts';

/** About how many items are listed at once: half a megabyte. */
const LISTED_ITEMS = 5000;

type Both = <T>(ask: (peer: MerklePeer) => Promise<T>) => Promise<[T, T]>;

interface Found extends MerkleDifference {
  /** Both digests. A write under way explains a difference once; the same one seen twice is real. */
  readonly evidence: string;
}

/**
 * Finds the live items that two stores do not agree on: root, then the nodes that differ at 8, 12 and 16 bits, then the ids in
 * those leaves. Ten differences among a million items take 19 KB in six round trips (anti-entropy as in Amazon's Dynamo,
 * SOSP 2007). A write under way reaches one side first. What differs is therefore compared again after `pause`, and reported
 * only when it differs in the same way.
 * @param pause undefined: no second look, and writes under way are told too
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
  const [root, peerRoot] = await Promise.all([here.root(), there.root(), admitted]);
  const differences: MerkleDifference[] = [];
  if (root.digest === peerRoot.digest && root.count === peerRoot.count) return { differences, more: false };
  for await (const found of differingRows(here, there, 0, pause, limit)) {
    for (const one of found) differences.push(one);
    if (differences.length > limit) break;
  }
  return { differences: differences.slice(0, limit), more: differences.length > limit };
}

/**
 * The rows of one week, 0 for the live items, that differ there, in groups; some groups are empty.
 * @param pause before a second look, after which only what differs in the same way is left; without it writes under way are among them
 * @param suspects how many are gathered for one second look; the last page of leaves may add to them
 */
export async function* differingRows(
  here: MerklePeer,
  there: MerklePeer,
  week: number,
  pause?: () => Promise<void>,
  suspects = LISTED_ITEMS,
): AsyncGenerator<readonly MerkleDifference[]> {
  const both: Both = (ask) => Promise.all([ask(here), ask(there)]);
  const pages = pagesOf(await differingLeaves(both, week));
  let found: Found[] = [];
  for (const page of pages) {
    found = [...found, ...compared(...(await both((peer) => peer.leafItems(page, { week }))))];
    if (pause !== undefined && found.length > 0) {
      if (found.length <= suspects && page !== pages.at(-1)) {
        yield [];
        continue;
      }
      await pause();
      found = await differingStill(both, found, week);
    }
    yield found.map(({ evidence: _evidence, ...difference }) => difference);
    found = [];
  }
}

/** What differs as it did before. Only these ids are asked for: their leaves hold fifteen times as many in a million items. */
async function differingStill(both: Both, found: readonly Found[], week: number): Promise<Found[]> {
  const still: Found[] = [];
  for (let at = 0; at < found.length; at += MAX_PEER_ROWS) {
    const before = new Map(found.slice(at, at + MAX_PEER_ROWS).map(({ id, evidence }) => [id, evidence]));
    const again = compared(...(await both((peer) => itemsOf(peer, [...before.keys()], week))));
    for (const one of again) if (before.get(one.id) === one.evidence) still.push(one);
  }
  return still;
}

/** Of a peer that does not take ids, all that is in their leaves. */
function itemsOf(peer: MerklePeer, ids: readonly string[], week: number): Promise<readonly LeafItem[]> {
  return peer.itemsOf?.(ids, { week }) ?? peer.leafItems([...new Set(ids.map((id) => leafOf(id)))], { week });
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

async function differingLeaves(both: Both, week: number): Promise<DifferingNode[]> {
  const differing = async (depths: LeafOptions) =>
    differingNodes(...(await both((peer) => peer.leaves({ ...depths, week }))));
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
