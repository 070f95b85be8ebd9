import { type Stamp, stampToMs } from '../clock.ts';
import { ZERO_DIGEST } from '../merkle/digest.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import { toItem } from '../schema/live-item.ts';
import type { Item } from '../types/read.ts';
import { hasNewerContent, hasNewerState, isNewer, type L1Entry, type Stamps } from './l1-entry.ts';

/** A write of this process that has not settled. The stamp of the part that it did not write, content or state, is 0. */
export interface OwnWrite {
  readonly kind: 'json' | 'binary' | 'deleted';
  readonly contentVersion: Stamp;
  readonly contentHash: string;
  readonly body: string;
  readonly stateVersion: Stamp;
  readonly state: string;
}

/** The own writes of a process, for its reader (I11). A store fills it from its producer. */
export interface OwnWriteView {
  /** Ids in it. */
  readonly size: number;
  get(id: string): OwnWrite | undefined;
  /** The feed announced a row with these stamps: an own write that is older has lost, although it has not settled. */
  announced(id: string, change: Stamps): void;
}

export const NO_OWN_WRITES: OwnWriteView = {
  size: 0,
  get: () => undefined,
  announced: () => undefined,
};

/** Whether content and state are both this process's own, so that no tier has to be asked. */
export function isComplete(own: OwnWrite): boolean {
  return own.contentVersion > 0 && (own.kind === 'deleted' || own.stateVersion > 0);
}

/** The item as it will be once the own writes have settled: content and state from whoever wrote each last. */
export function withOwnWrite(id: string, entry: L1Entry | undefined, own: OwnWrite): Item | undefined {
  if (!isNewer(own, entry)) return entry?.item;
  const contentVersion = entry?.contentVersion ?? 0;
  const stateVersion = entry?.stateVersion ?? 0;
  const ownState = entry === undefined ? own.stateVersion > 0 : hasNewerState(own, entry);
  const state = {
    state: ownState ? own.state : (entry?.state ?? ''),
    stateVersion: ownState ? own.stateVersion : stateVersion,
  };
  if (entry === undefined ? own.contentVersion > 0 : hasNewerContent(own, entry)) {
    if (own.kind === 'deleted') return undefined;
    return toItem({
      id,
      ...own,
      ...state,
      state: state.state === '' ? DEFAULT_STATE : state.state,
      tiers: 'all',
      digest: ZERO_DIGEST,
    });
  }
  if (entry?.item === undefined) return undefined;
  const version = Math.max(contentVersion, state.stateVersion);
  return Object.freeze({ ...entry.item, state: state.state, version, updatedAt: stampToMs(version) });
}
