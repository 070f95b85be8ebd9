import { openProducer } from '../src/producer/open-producer.ts';
import { openReader } from '../src/read/open-reader.ts';
import type { Producer, Reader } from '../src/types.ts';
import { changesFor, type Changes } from './changes.ts';
import { CITY_COUNT, loadCities } from './cities.ts';
import { fateOf } from './crash.ts';
import { fill } from './fill.ts';
import { Model } from './model.ts';
import { number } from './progress.ts';
import { readBack } from './reads.ts';
import { checkTable, crashStory, stageTable, type Stage } from './report.ts';
import type { TourParts } from './tour-parts.ts';
import { judge } from './verdict.ts';
import { Writes } from './writes.ts';

/** From this many items on, both workers are busy for seconds: a kill that finds one idle proves nothing. */
const BUSY_ITEMS = 20_000;

/** All that the demo shows, stage by stage. Returns the report. */
export async function tour(parts: TourParts): Promise<string> {
  const { scratch, observer, differences, progress, lockMs, signal } = parts;
  const changes = changesFor(await loadCities(parts.items));
  const model = new Model();
  const stages: Stage[] = [];
  await using producer = await openProducer({ ...scratch, logLevel: 'silent' });
  const open = () => openReader({ ...scratch, logLevel: 'silent' });
  await using reader = await open();

  progress.say(`Enqueueing ${number(parts.items)} of ${number(CITY_COUNT)} cities`);
  const { crash, stages: filling } = await fill(parts, producer, model, changes.first);
  stages.push(...filling);

  progress.say('Updating 10 %, deleting 1 %, submitting some of the deleted again');
  await change(parts, producer, model, changes, stages);
  signal.throwIfAborted();
  progress.say('Comparing every row, every copy and the Merkle tables with the model');
  const verdict = await judge(reader, observer, model, differences);
  signal.throwIfAborted();
  progress.say('Reading back');
  await read(parts, open, model, stages);

  // Last, because BullMQ's events come a moment after the writes have settled.
  const fate = fateOf(crash, observer.watch);
  for (const problem of fate.problems) differences.add(problem);
  if (fate.held === 0 && parts.items >= BUSY_ITEMS) differences.add('the killed worker held no chunk');

  return ['', stageTable(stages), '', checkTable(verdict), '', crashStory(crash, fate, lockMs)].join('\n');
}

async function change(
  { differences, signal }: TourParts,
  producer: Producer,
  model: Model,
  { updates, deletes, again }: Changes,
  stages: Stage[],
): Promise<void> {
  const timed = async (
    name: string,
    items: number,
    submit: (writes: Writes) => Promise<void>,
  ): Promise<void> => {
    if (items === 0) return;
    const writes = new Writes(items, producer, model, differences);
    const startedAt = performance.now();
    await submit(writes);
    await writes.allSettled(signal);
    stages.push({ name, items, ms: performance.now() - startedAt });
  };
  await timed('update, settled', updates.length, (writes) => writes.submit(updates, signal));
  await timed('delete and submit again, settled', deletes.length + again.length, async (writes) => {
    await writes.delete(deletes, signal);
    // Merged into one batch, a delete would rightly settle as superseded, and no tombstone ever be seen.
    await writes.allSettled(signal);
    await writes.submit(again, signal);
  });
}

async function read(
  { observer, differences }: TourParts,
  open: () => Promise<Reader>,
  model: Model,
  stages: Stage[],
): Promise<void> {
  const { ids, l3Ms, l2Ms } = await readBack(open, observer, model, differences);
  stages.push(
    { name: 'read from cold L3', items: ids, ms: l3Ms },
    { name: 'read from L2', items: ids, ms: l2Ms },
  );
}
