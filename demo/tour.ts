import { groupedDigits, Progress, Terminal } from '../src/cli/terminal.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import { openReader } from '../src/read/open-reader.ts';
import type { NewItem } from '../src/types/write.ts';
import { audit } from './audit.ts';
import { CITY_COUNT, cityWrites, type CityWrites } from './cities.ts';
import { Crash } from './crash.ts';
import type { Scene } from './deployment.ts';
import { readBack } from './reads.ts';
import type { Report } from './report.ts';
import type { Workers } from './workers.ts';
import { Writes } from './writes.ts';

/** All that the demo shows, stage by stage. Returns whether everything was exact. */
export async function tour(items: number, scene: Scene, workers: Workers): Promise<boolean> {
  const { deployment, report, signal } = scene;
  const terminal = new Terminal(process.stdout, process.stdout);
  const say = (line: string) => terminal.complain(line);
  const { config } = deployment;
  const drains = ['worker.1', 'worker.2'].map((name) => workers.start(name, 'drain'));
  await Promise.all([workers.start('maintenance', 'maintenance'), ...drains]);
  say('Two drain workers and maintenance are running');
  await using producer = await openProducer(config);
  await using reader = await openReader(config);
  await using crash = await Crash.prepare(deployment);
  const changes = await cityWrites(items);
  const writes = new Writes(producer, scene);

  const all = groupedDigits(CITY_COUNT);
  say(`Enqueueing ${groupedDigits(items)} of ${all} cities; worker.1 is killed half way`);
  await fill(changes.first, writes, report, terminal, () =>
    crash.killHalfway('worker.1', workers, writes, items),
  );
  say('Updating 10 %, deleting 1 %, submitting some of the deleted again');
  await change(changes, writes, report);
  signal.throwIfAborted();
  say('Comparing every row, every copy and the Merkle tables with the model');
  const root = await audit(scene, reader);
  signal.throwIfAborted();
  say('Reading back');
  await readBack(() => openReader(config), scene);
  // Last, because BullMQ's events come a moment after the writes have settled.
  const story = crash.tell(report, items);
  say(`${report.tables()}\nMerkle root ${root}\n${story}\n\n${report.verdict()}`);
  return report.isExact;
}

/** Enqueues everything, kills a worker half way and starts another, and waits until all has settled. */
async function fill(
  items: readonly NewItem[],
  writes: Writes,
  report: Report,
  terminal: Terminal,
  kill: () => Promise<void>,
): Promise<void> {
  const total = items.length;
  const progress = new Progress(terminal, () => ({
    share: writes.settled / total,
    done: writes.settled,
    waiting: writes.enqueued - writes.settled,
  }));
  const enqueue = () => report.timed('enqueue', total, () => writes.submit(items));
  const drain = () =>
    report.timed("settle, with the wait for the dead worker's lock", total, async () => {
      await enqueue();
      await writes.allSettled();
    });
  try {
    await Promise.all([drain(), kill()]);
  } finally {
    progress.stop();
  }
}

async function change(
  { updates, deletes, again }: CityWrites,
  writes: Writes,
  report: Report,
): Promise<void> {
  await report.timed('update, settled', updates.length, async () => {
    await writes.submit(updates);
    await writes.allSettled();
  });
  if (deletes.length === 0) return;
  await report.timed('delete and submit again, settled', deletes.length + again.length, async () => {
    await writes.delete(deletes);
    // Merged into one batch, a delete would rightly settle as superseded, and no tombstone ever be seen.
    await writes.allSettled();
    await writes.submit(again);
    await writes.allSettled();
  });
}
