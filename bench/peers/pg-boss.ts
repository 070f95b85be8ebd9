import PgBoss from 'pg-boss';
import type { NewItem } from '../../src/types/write.ts';
import { ItemWriter } from './item-writer.ts';
import type { Place } from './place.ts';
import type { WritePeer } from './write-peer.ts';

/** Jobs of one item that a fetch takes. It sorts all that wait, so fewer and larger fetches are cheaper. */
const FETCH = 1000;
/** Loops that fetch and write in each process. */
const LOOPS = 2;
/** How long a loop that found nothing waits. */
const POLL_MS = 100;

/**
 * pg-boss with jobs of `itemsPerJob` items, inserted and fetched many at a time. Workers fetch and complete themselves:
 * `work()` takes one batch an interval of half a second at least, however many wait.
 */
export function pgBoss(itemsPerJob: number): WritePeer {
  const fetchCount = Math.ceil(FETCH / itemsPerJob);
  return {
    async open(place) {
      const boss = await startBoss(place);
      await boss.createQueue(place.name);
      return {
        submit: (items) =>
          boss.insert(
            jobsOf(items, itemsPerJob).map((data) => ({ name: place.name, data: { items: data } })),
          ),
        close: () => boss.stop({ graceful: false, wait: true }),
      };
    },
    async consume(place, stored) {
      const boss = await startBoss(place);
      const writer = new ItemWriter(place);
      const loop = async () => {
        for (;;) {
          const jobs = await boss.fetch<{ items: NewItem[] }>(place.name, {
            batchSize: fetchCount,
            priority: false,
          });
          if (jobs.length === 0) {
            await new Promise((resolve) => setTimeout(resolve, POLL_MS));
            continue;
          }
          const items = jobs.flatMap(({ data }) => data.items);
          await writer.write(items);
          stored(items.length);
          await boss.complete(
            place.name,
            jobs.map(({ id }) => id),
          );
        }
      };
      for (let i = 0; i < LOOPS; i++) void loop();
    },
  };
}

async function startBoss({ databaseUrl, name }: Place): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: databaseUrl, max: 4 });
  boss.on('error', (error) => process.stderr.write(`${name}: ${error.message}\n`));
  await boss.start();
  return boss;
}

function jobsOf(items: readonly NewItem[], size: number): NewItem[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
