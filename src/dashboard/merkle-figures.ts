import { VERIFY_JOB } from '../maintenance/on-demand.ts';
import { merkleChildren, merklePrefix, merkleRoot } from '../postgres/merkle-nodes.ts';
import { readL3 } from '../postgres/pool.ts';
import { selectIds } from '../postgres/read-items.ts';
import type { MerkleChild, MerkleNode } from '../types.ts';
import { requestedJobs, type RequestedJob } from './requested-jobs.ts';
import type { Sources } from './sources.ts';

export interface MerkleFigures {
  readonly root: MerkleNode;
  readonly path: string;
  readonly node: MerkleNode;
  readonly children: readonly MerkleChild[];
  /** Where the next page of children begins. */
  readonly next: string | undefined;
  /** Some ids below the path. */
  readonly ids: readonly string[];
  readonly moreIds: boolean;
  readonly verifications: readonly RequestedJob[];
}

const CHILDREN = 50;
const IDS = 20;
const JOBS = 5;

/** @throws TierUnavailableError, SchemaMissingError */
export async function merkleFigures(
  { pool, maintenance }: Sources,
  path: string,
  after: string,
): Promise<MerkleFigures> {
  const [root, node, { children, next }, ids, verifications] = await Promise.all([
    readL3(() => merkleRoot(pool)),
    readL3(() => (path === '' ? merkleRoot(pool) : merklePrefix(pool, path))),
    readL3(() => merkleChildren(pool, path, after, CHILDREN)),
    path === ''
      ? { rows: [], more: false }
      : readL3(() => selectIds(pool, { by: 'prefix', key: `${path}.` }, '', IDS)),
    requestedJobs(maintenance, VERIFY_JOB, JOBS),
  ]);
  return { root, path, node, children, next, ids: ids.rows, moreIds: ids.more, verifications };
}
