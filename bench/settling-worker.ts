import { loadConfig } from '../src/config.ts';
import { configOfLane } from '../src/drain/start-drain.ts';
import { TextJobWorker } from '../src/drain/job-worker.ts';
import { WRITES_QUEUE } from '../src/keys.ts';
import { createLogger } from '../src/log.ts';
import { RedisBackend } from '../src/redis/backend.ts';
import { settleBatch } from '../src/redis/in-flight.ts';
import { toFeedChanges } from '../src/schema/feed.ts';
import { chunkSchema, parseJob } from '../src/schema/job.ts';

/** A drain worker that writes neither rows nor copies, as a process: it takes chunks, parses them and settles each at once. */
const config = loadConfig();
const backend = new RedisBackend(config, createLogger('bench', 'silent'));
await backend.ready(20_000, 'queue', 'blocking');
const lanes = await backend.lanes();
const ofLane = configOfLane(config, lanes.count, lanes.count);

for (const keys of lanes.keys) {
  const worker = new TextJobWorker(
    WRITES_QUEUE,
    async (job) => {
      const chunkId = job.id ?? '';
      const parsed = parseJob(chunkSchema, chunkId, job.data);
      if ('problem' in parsed) throw new Error(parsed.problem);
      const { ids, first } = parsed.data;
      const rows = ids.map((id, i) => ({ id, contentVersion: first + i, stateVersion: 0, deleted: false }));
      await settleBatch(
        backend.queue,
        keys,
        {
          jobs: [{ chunkId, operations: ids.length, outcome: {} }],
          changes: toFeedChanges(rows),
          newest: ids.map((id, i) => [id, first + i]),
        },
        ofLane.feedMaxEntries,
      );
    },
    { concurrency: ofLane.drainConcurrency, maxBytes: ofLane.drainMaxBytes },
    { connection: backend.blocking, prefix: keys.queuePrefix, removeOnComplete: { count: 0 } },
  );
  worker.on('error', (error) => process.stderr.write(`${error.message}\n`));
  await worker.waitUntilReady();
}
process.stdout.write('settling started\n');
process.on('SIGTERM', () => process.exit(0));
