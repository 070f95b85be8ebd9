import type { RangeJob } from '../../src/schema/job.ts';
import type { Deployment } from './deployment.ts';

/** Notes a range delete as in flight, as stamping it does. */
export async function noteRange(
  { redis, keys }: Pick<Deployment, 'redis' | 'keys'>,
  rangeId: string,
  { kind, value, stamp }: RangeJob,
): Promise<void> {
  await redis
    .multi()
    .zadd(keys.inflight, stamp, rangeId)
    .zadd(keys.ranges, stamp, rangeId)
    .hset(keys.covers, rangeId, JSON.stringify([stamp, [kind, value]]))
    .exec();
}
