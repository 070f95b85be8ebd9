import type { Stamp } from '../clock.ts';
import { toItem } from '../schema/live-item.ts';
import { storedChars, type StoredHead, type StoredItem } from '../schema/stored-item.ts';
import type { Item } from '../types/read.ts';
import { type Epoch, NEVER } from './epochs.ts';

/** The two stamps that order a row's versions. Compare both: two versions can share the larger one. */
export interface Stamps {
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
}

/**
 * What L1 keeps of one id. `epoch` is the one in which the read of it began; the entry is served only while that epoch
 * lasts. Afterwards it is a *floor*: it says how new an answer must be, and nothing else.
 */
export interface L1Entry extends Stamps {
  /** Undefined: known absent (or a floor). */
  readonly item: Item | undefined;
  readonly state: string;
  readonly epoch: Epoch;
  /** `cache`: of a copy in L2 only, which L1 does not keep. */
  readonly tiers: StoredHead['tiers'];
}

/** @param stored undefined: no tier has it. */
export function entryOf(stored: StoredItem | undefined, epoch: Epoch): L1Entry {
  if (stored === undefined) {
    return { item: undefined, contentVersion: 0, stateVersion: 0, state: '', epoch, tiers: 'all' };
  }
  const { contentVersion, stateVersion, state, tiers } = stored;
  return {
    item: stored.kind === 'deleted' ? undefined : toItem(stored),
    contentVersion,
    stateVersion,
    state,
    epoch,
    tiers,
  };
}

/** An entry that says: nothing older than this may be given out. */
export function floorOf(contentVersion: Stamp, stateVersion: Stamp): L1Entry {
  return { item: undefined, contentVersion, stateVersion, state: '', epoch: NEVER, tiers: 'all' };
}

/** The newer one in each register. */
export function newestOf(a: Stamps, b: Stamps | undefined): Stamps {
  return {
    contentVersion: Math.max(a.contentVersion, b?.contentVersion ?? 0),
    stateVersion: Math.max(a.stateVersion, b?.stateVersion ?? 0),
  };
}

/** Whether `a` is newer than `b` in either register. */
export function isNewer(a: Stamps, b: Stamps | undefined): boolean {
  return b === undefined || a.contentVersion > b.contentVersion || a.stateVersion > b.stateVersion;
}

/** Bytes of the value as L1 counts them: the length of the stored text, which is known. */
export function bytesOf(stored: StoredItem | undefined): number {
  return stored === undefined ? 0 : storedChars(stored);
}

/**
 * Whether an answer is older than `floor` in either register. A copy that lives in L2 only has a state of its own, so
 * only its content counts.
 */
export function isBelow(
  answer: Pick<StoredHead, 'contentVersion' | 'stateVersion' | 'tiers'> | undefined,
  floor: Stamps,
): boolean {
  if (answer === undefined) return floor.contentVersion > 0 || floor.stateVersion > 0;
  if (answer.contentVersion < floor.contentVersion) return true;
  return answer.tiers !== 'cache' && answer.stateVersion < floor.stateVersion;
}
