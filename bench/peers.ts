import { createDeployment } from '../test/helpers/deployment.ts';
import type { BenchOptions, Emit } from './metric.ts';
import { reads } from './peers/reads.ts';
import { writes } from './peers/writes.ts';

/** Tierline beside what a team would use instead: same items, same servers, in turns. */
export async function peersBench(emit: Emit, { items: count = 15_000 }: BenchOptions): Promise<void> {
  const deployment = await createDeployment();
  try {
    await writes(emit, deployment, count);
    await reads(emit, deployment);
  } finally {
    await deployment.close();
  }
}
