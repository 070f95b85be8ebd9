import type { Deployment } from './deployment.ts';

/** Jobs of writes that wait or are being written, in all partitions. With none, everything in the queue has settled. */
export async function unfinishedJobs({ redis, lanes }: Deployment): Promise<number> {
  let jobs = 0;
  for (const { queuePrefix } of lanes.keys) {
    const queue = `${queuePrefix}:writes`;
    for (const list of ['wait', 'active']) jobs += await redis.llen(`${queue}:${list}`);
    for (const set of ['delayed', 'failed']) jobs += await redis.zcard(`${queue}:${set}`);
  }
  return jobs;
}
