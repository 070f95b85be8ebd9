import type { Queue } from 'bullmq';
import { z } from 'zod';
import { ConfigError } from '../errors.ts';
import { type PeerComparison, peerComparisonSchema } from '../schema/peer.ts';

/** How long what people asked for, and its result, stays on the maintenance queue. */
export const KEPT_JOBS = {
  removeOnComplete: { age: 7 * 24 * 3600, count: 100 },
  removeOnFail: { count: 100 },
} as const;

/** A job of the maintenance queue: compares the deployment with one of its peers. */
export const COMPARE_JOB = 'compare';

export const compareDataSchema = z.object({ peer: z.string() });
export const compareResultSchema = peerComparisonSchema.extend({ ms: z.number() });
export type CompareResult = z.output<typeof compareResultSchema>;

/** Compares with the peer of this name. The layer of the peers lies above this one, so it is given. */
export type ComparePeer = (name: string) => Promise<PeerComparison>;

/** For a maintenance process that was started in code: only `tierline maintenance` knows the peers. */
export const NO_PEERS: ComparePeer = () => {
  const message =
    'This maintenance process was started in code and knows no peers. Run tierline maintenance.';
  return Promise.reject(new ConfigError(message));
};

/** Asks for a comparison with a peer, unless one with it is under way. Returns the id of its job. */
export async function requestCompare(maintenance: Queue, peer: string): Promise<string> {
  const deduplication = { id: `${COMPARE_JOB}-${peer}` };
  const job = await maintenance.add(COMPARE_JOB, { peer }, { ...KEPT_JOBS, deduplication });
  return job.id ?? '';
}

/** @throws what the comparison throws; the job keeps the message */
export async function runCompare(data: unknown, compare: ComparePeer): Promise<CompareResult> {
  const { peer } = compareDataSchema.parse(data);
  const startedMs = performance.now();
  return { ...(await compare(peer)), ms: performance.now() - startedMs };
}
