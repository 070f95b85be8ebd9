import { setTimeout as sleep } from 'node:timers/promises';
import type { Reader } from '../src/types.ts';
import { Checks } from './checks.ts';
import type { Differences } from './differences.ts';
import { isLive, type Model } from './model.ts';
import type { Observer } from './observer.ts';
import { auditL2, auditL3, leftovers, type TierCounts } from './tiers.ts';

const COMPLETION_MS = 5000;
const FAVOURITE = 'city.GB';

export interface Verdict {
  readonly checks: Checks;
  readonly root: string;
}

/** Compares all tiers and the Merkle tables with the model, exactly. */
export async function judge(
  reader: Reader,
  observer: Observer,
  model: Model,
  differences: Differences,
): Promise<Verdict> {
  const checks = new Checks(differences);
  const live = model.count(isLive);
  const tombstones = model.count((item) => !isLive(item));

  const l3 = await auditL3(observer, model, differences);
  checks.add('L3 live rows', l3.live, live);
  checks.add('L3 tombstones', l3.tombstones, tombstones);
  checkStates(checks, 'L3', l3, model);
  const l2 = await auditL2(observer, model, differences);
  checks.add('L2 live copies', l2.live, live);
  checks.add('L2 tombstones', l2.tombstones, tombstones);
  checkStates(checks, 'L2', l2, model);

  const { unsettled, deadLetters } = await afterCompletion(observer);
  checks.add('unsettled, in flight or queued', unsettled, 0);
  checks.add('dead letters', deadLetters, 0);

  const root = await reader.merkle.root();
  const expected = model.root(observer.config.merkleKey);
  checks.add('Merkle root, items', root.count, expected.count);
  if (root.digest !== expected.digest) {
    differences.add(`Merkle root: ${root.digest}, the model's is ${expected.digest}`);
  }
  const prefix = prefixOf(model);
  const below = await reader.merkle.prefix(prefix);
  checks.add(
    `Merkle prefix ${prefix}, items`,
    below.count,
    model.count((item, id) => isLive(item) && id.startsWith(`${prefix}.`)),
  );
  const verification = await reader.merkle.verify();
  checks.add('Merkle verify, differences', verification.differences.length, 0);
  return { checks, root: root.digest };
}

function checkStates(checks: Checks, tier: string, counts: TierCounts, model: Model): void {
  for (const state of ['default', 'reviewed']) {
    const expected = model.count((item) => isLive(item) && item.state === state);
    checks.add(`${tier} in state ${state}`, counts.states.get(state) ?? 0, expected);
  }
}

/** Jobs complete a moment after their writes have settled. */
async function afterCompletion(observer: Observer): Promise<{ unsettled: number; deadLetters: number }> {
  const deadline = Date.now() + COMPLETION_MS;
  for (;;) {
    const left = await leftovers(observer);
    if (left.unsettled === 0 || Date.now() > deadline) return left;
    await sleep(20);
  }
}

/** A short run may not come as far as Great Britain: then the country of the first record. */
function prefixOf(model: Model): string {
  const { ids } = model;
  const first = ids[0]?.split('.', 2).join('.') ?? FAVOURITE;
  return ids.some((id) => id.startsWith(`${FAVOURITE}.`)) ? FAVOURITE : first;
}
