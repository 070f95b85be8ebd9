import { type Stamp, stampToMs } from '../clock.ts';
import { ZERO_DIGEST } from '../merkle/digest.ts';
import { toItem } from '../schema/live-item.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import type { Item } from '../types.ts';
import type { Held, Stamps } from './held.ts';

/** What this process has written of one id and the tiers do not have yet. A register it did not write has stamp 0. */
export interface PendingItem {
  readonly kind: 'json' | 'binary' | 'deleted';
  readonly contentVersion: Stamp;
  readonly contentHash: string;
  readonly body: string;
  readonly stateVersion: Stamp;
  readonly state: string;
}

/** Lets a reader see accepted writes of its own process (I11); the store connects it to the producer. */
export interface PendingView {
  /** Ids in it. */
  readonly size: number;
  get(id: string): PendingItem | undefined;
  /** The feed announced a row with these stamps: an own write that is older has lost, although it has not settled. */
  announced(id: string, contentVersion: Stamp, stateVersion: Stamp): void;
}

export const NOTHING_PENDING: PendingView = {
  size: 0,
  get: () => undefined,
  announced: () => undefined,
};

/** Whether the tiers could add nothing: content and state are both this process's own. */
export function isComplete(pending: PendingItem): boolean {
  return pending.contentVersion > 0 && (pending.kind === 'deleted' || pending.stateVersion > 0);
}

/** Whether the pending write would change what the tiers hold. */
export function isNewer(pending: Stamps, held: Stamps | undefined): boolean {
  return (
    held === undefined ||
    pending.contentVersion > held.contentVersion ||
    pending.stateVersion > held.stateVersion
  );
}

/** The item as it will be once the pending writes have settled: each register from whoever wrote it last. */
export function withPending(id: string, held: Held | undefined, pending: PendingItem): Item | undefined {
  if (!isNewer(pending, held)) return held?.item;
  const contentVersion = held?.contentVersion ?? 0;
  const stateVersion = held?.stateVersion ?? 0;
  const ownState = pending.stateVersion > stateVersion;
  const state = {
    state: ownState ? pending.state : (held?.state ?? ''),
    stateVersion: ownState ? pending.stateVersion : stateVersion,
  };
  if (pending.contentVersion > contentVersion) {
    if (pending.kind === 'deleted') return undefined;
    return toItem({
      id,
      ...pending,
      ...state,
      state: state.state === '' ? DEFAULT_STATE : state.state,
      tiers: 'all',
      digest: ZERO_DIGEST,
    });
  }
  if (held?.item === undefined) return undefined;
  const version = Math.max(contentVersion, state.stateVersion);
  return Object.freeze({ ...held.item, state: state.state, version, updatedAt: stampToMs(version) });
}
