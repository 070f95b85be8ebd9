import { setTimeout as sleep } from 'node:timers/promises';
import { perKey } from '../src/redis/masters.ts';
import type { Reader } from '../src/types/read.ts';
import type { Deployment, Scene } from './deployment.ts';

const READ_IDS = 20_000;
const BACKFILL_MS = 10_000;

/** Reads ids spread over all that were ever written, deleted ones among them: first from L3 alone, then from L2. */
export async function readBack(open: () => Promise<Reader>, scene: Scene): Promise<void> {
  const { deployment, model, report } = scene;
  const all = model.ids;
  const step = Math.ceil(all.length / READ_IDS);
  const ids = all.filter((_, i) => i % step === 0);
  await onCopies(deployment, ids, 'unlink');
  report.check('L2 copies before the cold read', await onCopies(deployment, ids, 'exists'), 0);
  await read('read from cold L3', open, ids, scene);
  // A read from L3 fills L2 in the background, unless that takes so long that what was read is no fresh look any more: then
  // the next read does. The filter may answer for a deleted id: only what lives comes back for sure.
  const live = ids.filter((id) => model.isLive(id));
  const deadline = Date.now() + BACKFILL_MS;
  let copies = 0;
  while (copies < live.length && Date.now() < deadline) {
    await using reader = await open();
    await reader.getMany(live);
    await sleep(20);
    copies = await onCopies(deployment, live, 'exists');
  }
  report.check('L2 copies after the cold read', copies, live.length);
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

/** Returns how many of the copies there were. */
async function onCopies(
  { cache, copies }: Deployment,
  ids: readonly string[],
  command: 'unlink' | 'exists',
): Promise<number> {
  const keys = ids.map((id) => copies.item(id));
  const replies = await perKey(cache, keys, (pipeline, key) => pipeline[command](key));
  return replies.reduce((sum, [error, count]) => sum + (error === null ? Number(count) : 0), 0);
}
