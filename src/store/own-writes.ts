import type { Operation } from '../producer/operation.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import type { ChunkTicket } from '../producer/ticket.ts';
import type { TrackedChunk } from '../producer/tracked-chunk.ts';
import type { PendingItem, PendingView } from '../read/pending-view.ts';

const NOTHING: PendingItem = {
  kind: 'd',
  contentVersion: 0,
  contentHash: '',
  body: '',
  stateVersion: 0,
  state: DEFAULT_STATE,
};

/** The accepted writes of this process that have not settled: what makes a store read its own writes (I11). */
export class OwnWrites implements PendingView {
  readonly #items = new Map<string, PendingItem>();
  readonly #byChunk = new Map<TrackedChunk, string[]>();

  get size(): number {
    return this.#items.size;
  }

  get(id: string): PendingItem | undefined {
    return this.#items.get(id);
  }

  accepted(operation: Operation, ticket: ChunkTicket): void {
    // The feed can be faster than the queue's answer: then the tiers have it already.
    if (ticket.chunk.isDone) return;
    const { id } = operation;
    const known = this.#items.get(id) ?? NOTHING;
    this.#items.set(id, merged(known, operation, ticket.version));
    const ids = this.#byChunk.get(ticket.chunk);
    if (ids === undefined) this.#byChunk.set(ticket.chunk, [id]);
    else ids.push(id);
  }

  /**
   * Drops what the chunk wrote; a newer write of the same id stays.
   * @param onDropped told of each id just before: from then on the tiers answer, with nothing older than this.
   */
  settled(chunk: TrackedChunk, onDropped: (id: string, item: PendingItem) => void): void {
    const ids = this.#byChunk.get(chunk);
    if (ids === undefined) return;
    this.#byChunk.delete(chunk);
    const end = chunk.first + chunk.length;
    for (const id of ids) {
      const item = this.#items.get(id);
      if (item === undefined || item.contentVersion >= end || item.stateVersion >= end) continue;
      onDropped(id, item);
      this.#items.delete(id);
    }
  }
}

function merged(known: PendingItem, operation: Operation, version: number): PendingItem {
  const state = operation.kind === 'd' ? DEFAULT_STATE : operation.state;
  const content =
    operation.kind !== 's' && version > known.contentVersion
      ? { kind: operation.kind, contentVersion: version, contentHash: operation.hash, body: operation.body }
      : {};
  return {
    ...known,
    ...content,
    ...(state !== null && version > known.stateVersion ? { state, stateVersion: version } : {}),
  };
}
