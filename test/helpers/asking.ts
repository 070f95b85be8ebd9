import { loadConfig } from '../../src/config.ts';
import { createLogger } from '../../src/log.ts';
import { connectReader } from '../../src/read/open-reader.ts';
import { whenReady } from '../../src/redis/connect.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { feedNumber } from '../../src/redis/feed.ts';
import { knownLanes } from './known-lanes.ts';

/** A process that is sent ids which have settled, and answers with those it would deny. */
const config = loadConfig();
const log = createLogger('asking', 'silent');
const reader = await connectReader(config, log);
const redis = createRedis(config.redisUrl, 'patient', log);
await whenReady(redis, 2000);
const lanes = await knownLanes(redis, config.namespace);

process.on('message', (ids: string[]) => {
  void deniedOf(ids).then((denied) => process.send?.({ denied, ...reader.counters.filter }));
});
process.on('disconnect', () => process.exit(0));
process.send?.('asking');

async function deniedOf(ids: readonly string[]): Promise<string[]> {
  const exist = await Promise.all(ids.map((id) => reader.contains(id)));
  const denied = ids.filter((_, i) => !exist[i]).map((id) => `${id} by contains`);
  for (const [partition, keys] of lanes.keys.entries()) {
    const head = await feedNumber(redis, keys);
    while (!reader.hasReached(head, partition)) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return [...denied, ...ids.filter((id) => reader.definitelyMissing(id)).map((id) => `${id} by the filter`)];
}
