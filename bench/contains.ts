import { createLogger } from '../src/log.ts';
import { connectReader } from '../src/read/open-reader.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import type { Emit } from './metric.ts';

const ABSENT = 100_000;
const AT_ONCE = 1000;

/** `contains` of ids that do not exist, with the filter at the head of the feed. */
export async function containsBench(emit: Emit): Promise<void> {
  const deployment = await createDeployment();
  const { config } = deployment;
  const reader = await connectReader(config, createLogger('bench', 'silent'));
  try {
    while (!reader.definitelyMissing('nobody')) await new Promise((resolve) => setTimeout(resolve, 10));
    const before = reader.counters.l3.requests;
    let found = 0;
    const startedAt = performance.now();
    for (let at = 0; at < ABSENT; at += AT_ONCE) {
      const answers = await Promise.all(
        Array.from({ length: AT_ONCE }, (_, i) => reader.contains(`absent.${at + i}`)),
      );
      found += answers.filter(Boolean).length;
    }
    const ms = performance.now() - startedAt;
    emit('sql_per_100k', reader.counters.l3.requests - before, '');
    emit('contains_absent_per_s', (ABSENT / ms) * 1000, '1/s');
    emit('contains_wrong', found, '');
    const CALLS = 1_000_000;
    const syncAt = performance.now();
    for (let i = 0; i < CALLS; i++) if (!reader.mightExist('absent')) found++;
    emit('might_exist_us', ((performance.now() - syncAt) * 1000) / CALLS, 'us');
  } finally {
    await reader.close();
    await deployment.close();
  }
}
