import type { Stamp } from '../clock.ts';
import type { Lanes } from '../lanes.ts';
import { toItem } from '../schema/live-item.ts';
import {
  contentRank,
  type ContentRank,
  isLargerText,
  isLowerRank,
  RANK_DELETED,
  RANK_UNKNOWN,
} from '../schema/register-order.ts';
import { storedChars, type StoredHead, type StoredItem } from '../schema/stored-item.ts';
import type { Item } from '../types/read.ts';

/**
 * A time in which no change of a partition was missed. Entries of L1 that were read in it are served while `isServed` is set: the
 * feed is followed and the epoch lasts. An entry holds its epoch, so a hit needs not know the partition of its id.
 */
export class Epoch {
  isServed = false;
}

/** The epoch of an entry that is never served. */
export const NEVER = new Epoch();

/** The epoch of each partition. A missed change ends the epoch of its own partition only. */
export class Epochs {
  readonly #lanes: Pick<Lanes, 'of'>;
  readonly #current: Epoch[];

  constructor(lanes: Pick<Lanes, 'of' | 'count'>) {
    this.#lanes = lanes;
    this.#current = Array.from({ length: lanes.count }, () => new Epoch());
  }

  of(id: string): Epoch {
    return this.at(this.#lanes.of(id));
  }

  at(partition: number): Epoch {
    return this.#current[partition] as Epoch;
  }

  /** Begins the next epoch of a partition and returns the one that has ended. */
  next(partition: number): Epoch {
    const ended = this.at(partition);
    const begun = new Epoch();
    begun.isServed = ended.isServed;
    ended.isServed = false;
    this.#current[partition] = begun;
    return ended;
  }
}

/**
 * The two stamps that order a row's versions. Compare both: two versions can share the larger one. An equal stamp is decided by
 * the values (`schema/register-order.ts`), as far as they are known: by `contentRankOf`, and by `state`.
 */
export interface Stamps {
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  /** Left out: see `contentRankOf`. */
  readonly contentRank?: ContentRank;
  /** '' or left out: not known. */
  readonly state?: string;
}

/** Rows, copies, their heads, L1 entries and floors, own writes: all that stamps can belong to. */
interface Described extends Stamps {
  readonly kind?: StoredHead['kind'];
  readonly contentHash?: string;
  readonly item?: Item | undefined;
  readonly epoch?: Epoch;
}

function contentRankOf(of: Described): ContentRank {
  if (of.contentRank !== undefined) return of.contentRank;
  if (of.kind !== undefined) return contentRank(of.kind === 'deleted', of.contentHash ?? '');
  if (of.item !== undefined) return contentRank(false, of.item.contentHash);
  // An entry of L1 without an item: known absent, unless it is a floor.
  return of.epoch === undefined || of.epoch === NEVER ? RANK_UNKNOWN : RANK_DELETED;
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
export function floorOf({ contentVersion, stateVersion, contentRank, state = '' }: Stamps): L1Entry {
  const floor = { item: undefined, contentVersion, stateVersion, state, epoch: NEVER, tiers: 'all' } as const;
  return contentRank === undefined ? floor : { ...floor, contentRank };
}

/** The newer one in each register, for a floor: a known value is above an unknown one of the same stamp. */
export function newestOf(a: Stamps, b: Stamps | undefined): Stamps {
  if (b === undefined) return described(a, a);
  return described(isContentAbove(b, a) ? b : a, isStateAbove(b, a) ? b : a);
}

/** Whether `a` asks for more than the floor `b`. */
export function isAbove(a: Stamps, b: Stamps): boolean {
  return isContentAbove(a, b) || isStateAbove(a, b);
}

function isContentAbove(a: Stamps, b: Stamps): boolean {
  if (a.contentVersion !== b.contentVersion) return a.contentVersion > b.contentVersion;
  return a.contentVersion > 0 && contentRankOf(a) > contentRankOf(b);
}

function isStateAbove(a: Stamps, b: Stamps): boolean {
  if (a.stateVersion !== b.stateVersion) return a.stateVersion > b.stateVersion;
  if (a.stateVersion === 0 || a.state === b.state) return false;
  return isKnown(a.state) && (!isKnown(b.state) || isLargerText(a.state, b.state));
}

/** The content register of one and the state register of the other. What is not known is left out. */
function described(content: Stamps, state: Stamps): Stamps {
  const rank = content.contentVersion > 0 ? contentRankOf(content) : RANK_UNKNOWN;
  return {
    contentVersion: content.contentVersion,
    stateVersion: state.stateVersion,
    ...(rank === RANK_UNKNOWN ? {} : { contentRank: rank }),
    ...(state.stateVersion > 0 && isKnown(state.state) ? { state: state.state } : {}),
  };
}

/** Whether `a` is known to be newer than `b` in either register. */
export function isNewer(a: Stamps, b: Stamps | undefined): boolean {
  return b === undefined || hasNewerContent(a, b) || hasNewerState(a, b);
}

export function hasNewerContent(a: Stamps, b: Stamps): boolean {
  if (a.contentVersion !== b.contentVersion) return a.contentVersion > b.contentVersion;
  return a.contentVersion > 0 && isLowerRank(contentRankOf(b), contentRankOf(a));
}

export function hasNewerState(a: Stamps, b: Stamps): boolean {
  if (a.stateVersion !== b.stateVersion) return a.stateVersion > b.stateVersion;
  return isKnown(b.state) && isStateAbove(a, b);
}

function isKnown(state: string | undefined): state is string {
  return state !== undefined && state !== '';
}

/** Bytes of the value as L1 counts them: the length of the stored text, which is known. */
export function bytesOf(stored: StoredItem | undefined): number {
  return stored === undefined ? 0 : storedChars(stored);
}

/**
 * Whether an answer is older than `floor` in either register. A copy that lives in L2 only has a state of its own, so
 * only its content counts.
 */
export function isBelow(answer: (Stamps & Pick<StoredHead, 'tiers'>) | undefined, floor: Stamps): boolean {
  if (answer === undefined) return floor.contentVersion > 0 || floor.stateVersion > 0;
  return hasNewerContent(floor, answer) || (answer.tiers !== 'cache' && hasNewerState(floor, answer));
}
