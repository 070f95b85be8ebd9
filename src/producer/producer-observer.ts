/** A chunk that Redis took. */
export interface ChunkQueued {
  readonly items: number;
  /** Content bytes. */
  readonly bytes: number;
  /** Milliseconds from leaving the coalescer to standing in the queue. */
  readonly enqueueMs: number;
}

/** Hears what a producer does. Called once a chunk, never an item; it must not throw. */
export interface ProducerObserver {
  chunkQueued(chunk: ChunkQueued): void;
  /** Redis did not take this many operations; their callers got the error. */
  chunkRefused(items: number): void;
  /** @param failed the fate of the chunk is unknown: Redis lost it, or this producer was closed first. */
  chunkSettled(items: number, failed: boolean): void;
}

export const UNOBSERVED_PRODUCER: ProducerObserver = {
  chunkQueued: () => undefined,
  chunkRefused: () => undefined,
  chunkSettled: () => undefined,
};
