import type { MerkleNode, Registers, RepairPeer } from '../types/merkle.ts';

const WEEK_MS = 604_800_000;

/** The first week that is whole within this time from now. */
export function firstWeekWithin(ms: number): number {
  return 1 + Math.floor((Date.now() - ms) / WEEK_MS);
}

/** The week in which a row is counted: 0 when it is live on a side, else that of the newer tombstone. */
export function weekOf(here: Registers | undefined, there: Registers | undefined): number {
  const sides = [here, there].filter((row) => row !== undefined);
  if (sides.some(({ deleted }) => !deleted)) return 0;
  const newest = Math.max(
    ...sides.map(({ contentVersion, stateVersion }) => Math.max(contentVersion, stateVersion)),
  );
  return 1 + Math.floor(newest / (1000 * WEEK_MS));
}

/** 0 for the live items, then the weeks whose tombstones differ, from `firstWeek` on. */
export async function differingWeeks(
  here: RepairPeer,
  there: RepairPeer,
  firstWeek: number,
): Promise<number[]> {
  const both = <T>(ask: (peer: RepairPeer) => Promise<T>) => Promise.all([ask(here), ask(there)]);
  const [[root, otherRoot], [own, others]] = await Promise.all([
    both((peer) => peer.root()),
    both((peer) => peer.tombstoneWeeks()),
  ]);
  const nodes = new Map(own.map((node) => [node.week, keyed(node)]));
  const differing = new Set(own.map(({ week }) => week));
  for (const node of others) {
    if (nodes.get(node.week) === keyed(node)) differing.delete(node.week);
    else differing.add(node.week);
  }
  const weeks = [...differing].filter((week) => week >= firstWeek).toSorted((a, b) => a - b);
  return keyed(root) === keyed(otherRoot) ? weeks : [0, ...weeks];
}

function keyed({ count, digest }: MerkleNode): string {
  return `${count} ${digest}`;
}
