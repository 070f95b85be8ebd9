import { setTimeout as sleep } from 'node:timers/promises';
import type { Reader } from '../src/types.ts';
import type { Deployment } from './deployment.ts';
import type { Model } from './model.ts';
import type { Report } from './report.ts';

const READ_IDS = 20_000;
const KEYS_PER_COMMAND = 1000;
const BACKFILL_MS = 10_000;

/** Reads ids spread over all that were ever written, deleted ones among them: first from L3 alone, then from L2. */
export async function readBack(
  open: () => Promise<Reader>,
  deployment: Deployment,
  model: Model,
  report: Report,
): Promise<void> {
  const all = model.ids;
  const step = Math.ceil(all.length / READ_IDS);
  const ids = all.filter((_, i) => i % step === 0);
  await onCopies(deployment, ids, 'unlink');
  report.check('L2 copies before the cold read', await onCopies(deployment, ids, 'exists'), 0);
  await read('read from cold L3', open, ids, model, report);
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
  await read('read from L2', open, ids, model, report);
}

/** By a reader of its own, whose L1 is empty. */
async function read(
  stage: string,
  open: () => Promise<Reader>,
  ids: readonly string[],
  model: Model,
  report: Report,
): Promise<void> {
  await using reader = await open();
  const startedAt = performance.now();
  const items = await reader.getMany(ids);
  report.stage(stage, ids.length, performance.now() - startedAt);
  ids.forEach((id, i) => report.difference(model.readProblem(id, items[i])));
}

async function onCopies(
  { cache, copies }: Deployment,
  ids: readonly string[],
  command: 'unlink' | 'exists',
): Promise<number> {
  let count = 0;
  for (let from = 0; from < ids.length; from += KEYS_PER_COMMAND) {
    count += await cache[command](...ids.slice(from, from + KEYS_PER_COMMAND).map((id) => copies.item(id)));
  }
  return count;
}
