import { Logger, makeWorkerUtils, run, type TaskList, WorkerPreset } from 'graphile-worker';
import type { NewItem } from '../../src/types/write.ts';
import { BATCH, Batcher } from './batcher.ts';
import { ItemWriter } from './item-writer.ts';
import type { Place } from './place.ts';
import type { WritePeer } from './write-peer.ts';

/** graphile-worker with a job an item, fetched and completed in batches as its guide to performance says, and an in-process batcher. */
export const graphileBatcher: WritePeer = {
  open: (place) =>
    openGraphile(place, (items) => items.map((payload) => ({ identifier: place.name, payload }))),
  consume(place, stored) {
    const writer = new ItemWriter(place);
    const batcher = new Batcher(async (items) => {
      await writer.write(items);
      stored(items.length);
    });
    return consumeGraphile(place, 2 * BATCH, {
      [place.name]: (payload) => batcher.add(payload as NewItem),
    });
  },
};

/** graphile-worker with an array of items as the payload of a job, which it calls a batch job. */
export const graphileChunks: WritePeer = {
  open: (place) => openGraphile(place, (payload) => [{ identifier: place.name, payload }]),
  consume(place, stored) {
    const writer = new ItemWriter(place);
    return consumeGraphile(place, 4, {
      async [place.name](payload) {
        const items = payload as NewItem[];
        await writer.write(items);
        stored(items.length);
      },
    });
  },
};

/** It logs each job that it runs. */
const errorsOnly = new Logger(() => (level: string, message) => {
  if (level === 'error') process.stderr.write(`graphile-worker: ${message}\n`);
});

async function openGraphile(
  place: Place,
  jobsOf: (items: readonly NewItem[]) => { identifier: string; payload: unknown }[],
) {
  const utils = await makeWorkerUtils({ ...settingsOf(place), maxPoolSize: 4 });
  await utils.migrate();
  return {
    submit: (items: readonly NewItem[]) => utils.addJobs(jobsOf(items)),
    close: async () => utils.release(),
  };
}

async function consumeGraphile(place: Place, concurrency: number, taskList: TaskList): Promise<void> {
  const runner = await run({
    ...settingsOf(place),
    taskList,
    noHandleSignals: true,
    preset: {
      extends: [WorkerPreset],
      worker: {
        concurrentJobs: concurrency,
        maxPoolSize: 10,
        localQueue: { size: concurrency },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  void runner.promise.finally(() => process.exit(1));
}

/** All in its default schema: a worker stops when another schema of its database is migrated. */
function settingsOf({ databaseUrl }: Place) {
  return { connectionString: databaseUrl, logger: errorsOnly };
}
