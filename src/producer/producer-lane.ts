import type { Config } from '../config.ts';
import { BackpressureError } from '../errors.ts';
import type { RangeJob } from '../schema/job.ts';
import type { ChunkQueue } from './chunk-queue.ts';
import type { ChunkTracker } from './chunk-tracker.ts';
import { Coalescer } from './coalescer.ts';
import type { SizedOperation } from './parsed-call.ts';
import type { ProducerObserver } from './producer-observer.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

/** The write side of one partition: its operations are gathered, queued and tracked apart from those of the others. */
export class ProducerLane {
  readonly queue: ChunkQueue;
  readonly tracker: ChunkTracker;
  readonly coalescer: Coalescer;
  readonly #observer: ProducerObserver;

  constructor(config: Config, queue: ChunkQueue, tracker: ChunkTracker, observer: ProducerObserver) {
    this.queue = queue;
    this.tracker = tracker;
    this.#observer = observer;
    this.coalescer = new Coalescer(config, (operations, atomic) => this.#add(operations, atomic));
  }

  /** As `ChunkQueue.addRange`. Whatever was submitted before, awaited or not, gets an earlier stamp than the range, or is refused. */
  addRange(kind: RangeJob['kind'], value: string): Promise<TrackedChunk> {
    this.coalescer.flushBeforeRange();
    return this.queue.addRange(kind, value);
  }

  /** Resolves once all that was sent so far is in Redis or refused. */
  async arrivals(): Promise<void> {
    await Promise.allSettled([this.coalescer.arrivals(), ...this.queue.adding]);
  }

  async close(): Promise<void> {
    // The queue cannot wait for a second try that it has not been given yet.
    await this.coalescer.arrivals();
    await this.queue.close();
  }

  async #add(operations: readonly SizedOperation[], atomic: boolean): Promise<TrackedChunk> {
    const items = operations.length;
    const bytes = operations.reduce((sum, operation) => sum + operation.bytes, 0);
    const started = performance.now();
    try {
      const chunk = await this.queue.add(operations, atomic);
      this.#observer.chunkQueued({ items, bytes, enqueueMs: performance.now() - started });
      return chunk;
    } catch (error) {
      this.#observer.chunkRefused(items, error instanceof BackpressureError ? 'full' : 'refused');
      throw error;
    }
  }
}
