import type { Stamp } from '../clock.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import { ZERO_DIGEST } from '../merkle/digest.ts';

/** What this process has written of one id and the tiers do not have yet. A register it did not write has stamp 0. */
export interface PendingItem {
  readonly kind: 'j' | 'b' | 'd';
  readonly contentVersion: Stamp;
  readonly contentHash: string;
  readonly body: string;
  readonly stateVersion: Stamp;
  readonly state: string;
}

/** Lets a reader see accepted writes of its own process (I11); the store connects it to the producer. */
export interface PendingView {
  get(id: string): PendingItem | undefined;
}

/** Whether the tiers could add nothing: content and state are both this process's own. */
export function isComplete(pending: PendingItem): boolean {
  return pending.contentVersion > 0 && (pending.kind === 'd' || pending.stateVersion > 0);
}

/** The item as it will be once the pending writes have settled: each register from whoever wrote it last. */
export function withPending(
  id: string,
  stored: StoredItem | undefined,
  pending: PendingItem | undefined,
): StoredItem | undefined {
  if (pending === undefined) return stored;
  const base: StoredItem = stored ?? {
    id,
    kind: 'd',
    contentVersion: 0,
    stateVersion: 0,
    origin: 'r',
    digest: ZERO_DIGEST,
    contentHash: '',
    state: 'default',
    body: '',
  };
  const content = pending.contentVersion > base.contentVersion ? pending : base;
  const state = pending.stateVersion > base.stateVersion ? pending : base;
  return {
    ...base,
    kind: content.kind,
    contentVersion: content.contentVersion,
    contentHash: content.contentHash,
    body: content.body,
    stateVersion: state.stateVersion,
    state: state.state,
  };
}
