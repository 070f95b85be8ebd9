import { UNWRITTEN } from '../clock.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import type { Operation } from '../schema/job.ts';
import type { ChunkTicket } from '../producer/ticket.ts';
import type { TrackedChunk } from '../producer/tracked-chunk.ts';
import { hasNewerContent, hasNewerState, type Stamps } from '../read/l1-entry.ts';
import type { OwnWrite, OwnWriteView } from '../read/own-writes.ts';

const UNWRITTEN_CONTENT = { kind: 'deleted', contentVersion: UNWRITTEN, contentHash: '', body: '' } as const;
const UNWRITTEN_STATE = { stateVersion: UNWRITTEN, state: DEFAULT_STATE } as const;
const CONTENT_KINDS = { putJson: 'json', putBinary: 'binary', delete: 'deleted' } as const;
const NOTHING: OwnWrite = { ...UNWRITTEN_CONTENT, ...UNWRITTEN_STATE };

interface Own {
  item: OwnWrite;
  /** Operations of this id that have not settled. */
  open: number;
}

/** The accepted writes of this process that have not settled. With them a store reads its own writes (I11). */
export class OwnWrites implements OwnWriteView {
  readonly #onDropped: (id: string, item: OwnWrite) => void;
  readonly #items = new Map<string, Own>();
  readonly #byChunk = new Map<TrackedChunk, string[]>();

  /** @param onDropped told of each id just before it is dropped: from then on the tiers answer, with nothing older than this. */
  constructor(onDropped: (id: string, item: OwnWrite) => void) {
    this.#onDropped = onDropped;
  }

  get size(): number {
    return this.#items.size;
  }

  get(id: string): OwnWrite | undefined {
    return this.#items.get(id)?.item;
  }

  announced(id: string, change: Stamps): void {
    const own = this.#items.get(id);
    if (own === undefined) return;
    const { item } = own;
    if (hasNewerContent(change, item)) own.item = { ...own.item, ...UNWRITTEN_CONTENT };
    if (hasNewerState(change, item)) own.item = { ...own.item, ...UNWRITTEN_STATE };
  }

  accepted(operation: Operation, ticket: ChunkTicket): void {
    const { id } = operation;
    const known = this.#items.get(id);
    const item = merged(known?.item ?? NOTHING, operation, ticket.version);
    // The feed can be faster than the queue's answer: then the tiers have it already.
    if (ticket.chunk.isDone) {
      this.#onDropped(id, item);
      return;
    }
    if (known === undefined) this.#items.set(id, { item, open: 1 });
    else {
      known.item = item;
      known.open++;
    }
    const ids = this.#byChunk.get(ticket.chunk);
    if (ids === undefined) this.#byChunk.set(ticket.chunk, [id]);
    else ids.push(id);
  }

  /** Drops what the chunk wrote, but not an id with another write on its way, older or newer: chunks settle in any order. */
  settled(chunk: TrackedChunk): void {
    const ids = this.#byChunk.get(chunk);
    if (ids === undefined) return;
    this.#byChunk.delete(chunk);
    for (const id of ids) {
      const own = this.#items.get(id);
      if (own === undefined || --own.open > 0) continue;
      this.#onDropped(id, own.item);
      this.#items.delete(id);
    }
  }
}

function merged(known: OwnWrite, operation: Operation, version: number): OwnWrite {
  const state = operation.kind === 'delete' ? DEFAULT_STATE : operation.state;
  const content =
    operation.kind !== 'setState' && version > known.contentVersion
      ? {
          kind: CONTENT_KINDS[operation.kind],
          contentVersion: version,
          contentHash: operation.hash,
          body: operation.body,
        }
      : {};
  return {
    ...known,
    ...content,
    ...(state !== null && version > known.stateVersion ? { state, stateVersion: version } : {}),
  };
}
