import { setTimeout as sleep } from 'node:timers/promises';
import type { Item, Reader } from '../src/types.ts';
import type { Differences } from './differences.ts';
import type { Model } from './model.ts';
import type { Observer } from './observer.ts';

const READ_IDS = 20_000;
const KEYS_PER_COMMAND = 1000;
const BACKFILL_MS = 10_000;

export interface ReadTimes {
  readonly ids: number;
  /** Milliseconds with no L2 copy there. */
  readonly l3Ms: number;
  /** Milliseconds with every L2 copy there. */
  readonly l2Ms: number;
}

/** Reads ids spread over all that were ever written, deleted ones among them: first from L3 alone, then from L2. */
export async function readBack(
  open: () => Promise<Reader>,
  observer: Observer,
  model: Model,
  differences: Differences,
): Promise<ReadTimes> {
  const all = model.ids;
  const count = Math.min(READ_IDS, all.length);
  const place = (i: number): number => Math.floor((i * count) / all.length);
  const ids = all.filter((_, i) => place(i) !== place(i - 1));

  await forget(observer, ids);
  const copies = await copiesOf(observer, ids);
  if (copies !== 0) differences.add(`${copies} L2 copies are left before the cold read`);
  const l3Ms = await read('from L3', open, ids, model, differences);

  // The filter may answer for a deleted id, so only what is there comes back to L2 for sure.
  const live = ids.filter((id) => model.readProblem(id, undefined) !== undefined);
  await untilCopied(observer, live, differences);
  const l2Ms = await read('from L2', open, ids, model, differences);
  return { ids: count, l3Ms, l2Ms };
}

/** By a reader of its own, whose L1 is empty. */
async function read(
  tier: string,
  open: () => Promise<Reader>,
  ids: readonly string[],
  model: Model,
  differences: Differences,
): Promise<number> {
  await using reader = await open();
  const startedAt = performance.now();
  const items: readonly (Item | undefined)[] = await reader.getMany(ids);
  const tookMs = performance.now() - startedAt;
  ids.forEach((id, i) => {
    const problem = model.readProblem(id, items[i]);
    if (problem !== undefined) differences.add(`${tier}: ${problem}`);
  });
  return tookMs;
}

async function forget({ cache, copies }: Observer, ids: readonly string[]): Promise<void> {
  for (let from = 0; from < ids.length; from += KEYS_PER_COMMAND) {
    await cache.unlink(...ids.slice(from, from + KEYS_PER_COMMAND).map((id) => copies.item(id)));
  }
}

async function copiesOf({ cache, copies }: Observer, ids: readonly string[]): Promise<number> {
  let found = 0;
  for (let from = 0; from < ids.length; from += KEYS_PER_COMMAND) {
    found += await cache.exists(...ids.slice(from, from + KEYS_PER_COMMAND).map((id) => copies.item(id)));
  }
  return found;
}

/** A read from L3 fills L2 in the background. */
async function untilCopied(
  observer: Observer,
  ids: readonly string[],
  differences: Differences,
): Promise<void> {
  const deadline = Date.now() + BACKFILL_MS;
  for (;;) {
    const copies = await copiesOf(observer, ids);
    if (copies === ids.length) return;
    if (Date.now() > deadline) {
      differences.add(`the cold read left ${copies} L2 copies, expected ${ids.length}`);
      return;
    }
    await sleep(20);
  }
}
