import { xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type { HashNode, LeafItem, LeafOptions, MerkleChild, MerkleNode } from '../types/merkle.ts';
import { compareIds } from './all-items.ts';
import { hashNodes, leafItems, merkleChildren, merklePrefix, merkleRoot } from './merkle-nodes.ts';
import type { Shards } from './shards.ts';

/**
 * The Merkle tree of all shards. Nodes are sums, so the node of a deployment is that of its shards together, whatever their number.
 * All throw TierUnavailableError, which names the shard, and SchemaMissingError.
 */

export async function rootOfAll(shards: Shards): Promise<MerkleNode> {
  const { scope } = shards;
  return sumOf(await shards.whole(({ pool }) => merkleRoot(pool, scope)));
}

export async function prefixOfAll(shards: Shards, path: string): Promise<MerkleNode> {
  const { scope } = shards;
  return sumOf(await shards.whole(({ pool }) => merklePrefix(pool, path, scope)));
}

/** As `merkleChildren`. */
export async function childrenOfAll(
  shards: Shards,
  path: string,
  after: string,
  limit: number,
): Promise<{ readonly children: readonly MerkleChild[]; readonly next: string | undefined }> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => merkleChildren(pool, path, after, limit, scope));
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  // Behind the end of a page that has more, nodes of its shard may be missing.
  const end = parts.flatMap(({ next }) => (next === undefined ? [] : [next])).toSorted(compareIds)[0];
  const byPath = new Map<string, MerkleNode[]>();
  for (const child of parts.flatMap(({ children }) => children)) {
    if (end !== undefined && compareIds(child.path, end) > 0) continue;
    byPath.set(child.path, [...(byPath.get(child.path) ?? []), child]);
  }
  const children = Array.from(byPath, ([child, nodes]) => ({ path: child, ...sumOf(nodes) })).toSorted(
    (a, b) => compareIds(a.path, b.path),
  );
  return children.length > limit
    ? { children: children.slice(0, limit), next: children[limit - 1]?.path }
    : { children, next: end };
}

export async function nodesOfAll(shards: Shards, options: LeafOptions): Promise<HashNode[]> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => hashNodes(pool, options, scope));
  // A partition is a subtree, and no deeper than these nodes: no node is in two shards.
  return parts.length === 1 ? (parts[0] as HashNode[]) : parts.flat().toSorted((a, b) => a.node - b.node);
}

export async function leafItemsOfAll(shards: Shards, leaves: readonly number[]): Promise<LeafItem[]> {
  const { scope } = shards;
  return (await shards.whole(({ pool }) => leafItems(pool, leaves, scope))).flat();
}

function sumOf(nodes: readonly MerkleNode[]): MerkleNode {
  return {
    count: nodes.reduce((sum, { count }) => sum + count, 0),
    digest: nodes.reduce((digest, node) => xorDigests(digest, node.digest), ZERO_DIGEST),
  };
}
