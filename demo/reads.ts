import { perKey } from '../src/redis/masters.ts';
import type { Reader } from '../src/types/read.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import type { Scene } from './deployment.ts';

const READ_IDS = 10_000;
const BACKFILL_MS = 120_000;
/** Few, so that also a slow machine writes their copies before the look is too old. */
const BACKFILL_IDS = 2000;

/** Reads ids spread over all that were ever written, deleted ones among them: first from L3 alone, then from L2. */
export async function readBack(open: () => Promise<Reader>, scene: Scene): Promise<void> {
  const { deployment, model, report } = scene;
  const all = model.ids;
  const step = Math.ceil(all.length / READ_IDS);
  const ids = all.filter((_, i) => i % step === 0);
  await onCopies(deployment, ids, 'unlink');
  report.check('L2 copies before the cold read', (await onCopies(deployment, ids, 'strlen')).length, 0);
  await read('read from cold L3', open, ids, scene);
  // A read from L3 fills L2 in the background, unless that takes so long that what was read is no fresh look any more: then
  // the next read does. The filter may answer for a deleted id: only what lives comes back for sure.
  const live = ids.filter((id) => model.isLive(id));
  const deadline = Date.now() + BACKFILL_MS;
  let found = new Set(await onCopies(deployment, live, 'strlen'));
  while (found.size < live.length && Date.now() < deadline) {
    // Closing a reader writes what waits, and does not spare Redis as an open one does.
    const reader = await open();
    await reader.getMany(live.filter((id) => !found.has(id)).slice(0, BACKFILL_IDS));
    await reader.close();
    found = new Set(await onCopies(deployment, live, 'strlen'));
  }
  report.check('L2 copies after the cold read', found.size, live.length);
  await read('read from L2', open, ids, scene);
}

/** By a reader of its own, whose L1 is empty. */
async function read(
  stage: string,
  open: () => Promise<Reader>,
  ids: readonly string[],
  { model, report }: Scene,
): Promise<void> {
  await using reader = await open();
  const items = await report.timed(stage, ids.length, () => reader.getMany(ids));
  ids.forEach((id, i) => report.difference(model.readProblem(id, items[i])));
}

/** Returns the ids that had a copy. */
async function onCopies(
  { cache, keys }: Deployment,
  ids: readonly string[],
  command: 'unlink' | 'strlen',
): Promise<string[]> {
  const copies = ids.map((id) => keys.item(id));
  const replies = await perKey(cache, copies, (pipeline, key) => pipeline[command](key));
  return ids.filter((_, i) => Number(replies[i]?.[1]) > 0);
}
