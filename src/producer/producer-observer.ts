/** A chunk that Redis took. */
export interface ChunkQueued {
  readonly items: number;
  /** Content bytes. */
  readonly bytes: number;
  /** Milliseconds from the coalescer to the queue. */
  readonly enqueueMs: number;
}

/** Why a chunk was not queued: Redis did not take it, or the queue is full. */
export type RefusalKind = 'refused' | 'full';

/** Hears what a producer does. Called once a chunk or call, never an item; it must not throw. */
export interface ProducerObserver {
  chunkQueued(chunk: ChunkQueued): void;
  /** `items` operations were not queued, and their callers got the error. */
  chunkRefused(items: number, kind: RefusalKind): void;
  /** A chunk was delayed because the queue fills up. */
  chunkDelayed(delayMs: number): void;
  /** @param failed the fate of the chunk is unknown: Redis lost it, or this producer was closed first. */
  chunkSettled(items: number, failed: boolean): void;
}

export const UNOBSERVED_PRODUCER: ProducerObserver = {
  chunkQueued: () => undefined,
  chunkRefused: () => undefined,
  chunkDelayed: () => undefined,
  chunkSettled: () => undefined,
};
