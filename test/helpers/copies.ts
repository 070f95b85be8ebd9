import type { Options } from '../../src/config.ts';
import { loadConfig } from '../../src/config.ts';
import { type ChoreObserver, UNOBSERVED_CHORES } from '../../src/maintenance/chores.ts';
import { CopySweep } from '../../src/maintenance/copy-sweep.ts';
import type { LostWriteParts } from '../../src/maintenance/lost-writes.ts';
import { Digester, xorDigests } from '../../src/merkle/digest.ts';
import type { CopyTurn } from '../../src/redis/copies.ts';
import { encodeStored, decodeStored, type StoredItem } from '../../src/schema/stored-item.ts';
import type { Deployment } from './deployment.ts';

export function lostWritePartsOf(
  { shards, redis, cache, items, lanes, options }: Deployment,
  extra: Options = {},
): LostWriteParts {
  const config = loadConfig({ ...options, ...extra });
  return {
    shards,
    queue: redis,
    cache,
    items,
    lanes,
    digester: new Digester(config.merkleKey),
    config,
  };
}

/** A sweep without the maintenance process: tests choose when it works. */
export function sweepOf(
  deployment: Deployment,
  extra: Options = {},
  observer: ChoreObserver = UNOBSERVED_CHORES,
): CopySweep {
  return new CopySweep({ ...lostWritePartsOf(deployment, extra), log: deployment.log, observer });
}

/** A whole turn, without the rests between its steps. */
export async function sweepAll(deployment: Deployment, extra: Options = {}): Promise<CopyTurn> {
  const number = await sweepOf(deployment, extra).begin();
  for (;;) {
    const done = await sweepOf(deployment, extra).hurry(number);
    if (!('restMs' in done)) return done;
  }
}

export function copyKey({ keys }: Deployment, id: string): string {
  return keys.item(id);
}

export async function readCopy(deployment: Deployment, id: string): Promise<StoredItem | undefined> {
  const value = await deployment.cache.get(copyKey(deployment, id));
  return value === null ? undefined : decodeStored(id, value);
}

/** Puts a copy into L2 as it is, whatever is there. Returns its text. */
export async function plantCopy(deployment: Deployment, copy: StoredItem): Promise<string> {
  const value = encodeStored(copy);
  await deployment.cache.set(copyKey(deployment, copy.id), value);
  return value;
}

/** The same copy under another id or content stamp, with the digest that belongs to it. */
export function restamped(
  { id, kind, contentVersion, stateVersion, tiers, contentHash, state, body }: StoredItem,
  change: { readonly id?: string; readonly contentVersion?: number },
): StoredItem {
  const copy = { id, kind, contentVersion, stateVersion, tiers, contentHash, state, body, ...change };
  const digester = new Digester();
  const content = digester.content(
    copy.id,
    copy.contentVersion,
    kind === 'deleted' ? undefined : contentHash,
  );
  const digest =
    stateVersion === 0 ? content : xorDigests(content, digester.state(copy.id, stateVersion, state));
  return { ...copy, digest };
}
