import { Progress } from '../src/cli/progress.ts';
import { groupedDigits } from '../src/cli/table.ts';
import { Terminal } from '../src/cli/terminal.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import { openReader } from '../src/read/open-reader.ts';
import type { NewItem } from '../src/types.ts';
import { audit } from './audit.ts';
import { CITY_COUNT, cityWrites, type CityWrites } from './cities.ts';
import { Crash } from './crash.ts';
import type { Deployment } from './deployment.ts';
import { Model } from './model.ts';
import { readBack } from './reads.ts';
import { Report } from './report.ts';
import type { Workers } from './workers.ts';
import { Writes } from './writes.ts';

export interface TourParts {
  readonly items: number;
  readonly deployment: Deployment;
  readonly workers: Workers;
  readonly signal: AbortSignal;
}

/** All that the demo shows, stage by stage. Returns whether everything was exact. */
export async function tour({ items, deployment, workers, signal }: TourParts): Promise<boolean> {
  const terminal = new Terminal(process.stdout, process.stdout);
  const say = (line: string) => terminal.complain(line);
  const report = new Report();
  const model = new Model();
  const { config } = deployment;
  await Promise.all([
    workers.start('maintenance', 'maintenance'),
    workers.start('worker.1', 'drain'),
    workers.start('worker.2', 'drain'),
  ]);
  say('Two drain workers and maintenance are running');
  await using producer = await openProducer(config);
  await using reader = await openReader(config);
  await using crash = await Crash.prepare(deployment);
  const changes = await cityWrites(items);
  const writes = new Writes(producer, model, report, signal);

  say(
    `Enqueueing ${groupedDigits(items)} of ${groupedDigits(CITY_COUNT)} cities; worker.1 is killed half way`,
  );
  await fill(changes.first, writes, report, terminal, () =>
    crash.killHalfway('worker.1', workers, writes, items),
  );
  say('Updating 10 %, deleting 1 %, submitting some of the deleted again');
  await change(changes, writes, report);
  signal.throwIfAborted();
  say('Comparing every row, every copy and the Merkle tables with the model');
  const root = await audit(deployment, reader, model, report);
  signal.throwIfAborted();
  say('Reading back');
  await readBack(() => openReader(config), deployment, model, report);
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
    settled: writes.settled,
    waiting: writes.enqueued - writes.settled,
  }));
  const startedAt = performance.now();
  const drain = async (): Promise<void> => {
    await writes.submit(items);
    report.stage('enqueue', total, performance.now() - startedAt);
    await writes.allSettled();
    report.stage("settle, with the wait for the dead worker's lock", total, performance.now() - startedAt);
  };
  try {
    await Promise.all([drain(), kill()]);
  } finally {
    progress.stop();
  }
}

async function change(changes: CityWrites, writes: Writes, report: Report): Promise<void> {
  const { updates, deletes, again } = changes;
  let startedAt = performance.now();
  await writes.submit(updates);
  await writes.allSettled();
  report.stage('update, settled', updates.length, performance.now() - startedAt);
  if (deletes.length === 0) return;
  startedAt = performance.now();
  await writes.delete(deletes);
  // Merged into one batch, a delete would rightly settle as superseded, and no tombstone ever be seen.
  await writes.allSettled();
  await writes.submit(again);
  await writes.allSettled();
  report.stage(
    'delete and submit again, settled',
    deletes.length + again.length,
    performance.now() - startedAt,
  );
}
