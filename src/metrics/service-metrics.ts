import type { Registry } from 'prom-client';
import type { ProducerObserver } from '../producer/producer-observer.ts';
import type { Producer, Reader } from '../types.ts';
import { ProducerMetrics } from './producer-metrics.ts';
import { ReaderMetrics } from './reader-metrics.ts';

/** What a service shows of its own producer, reader or store, in the prom-client registry that it serves itself. */
export interface ServiceMetrics {
  /** For `openProducer(options, observer)` and `openStore(options, observer)`. */
  readonly observer: ProducerObserver;
  /** Shows a producer's pressure. At most one a registry. */
  watchProducer(producer: Pick<Producer, 'pressure'>): void;
  /** Shows a reader's tiers. At most one a registry. */
  watchReader(reader: Pick<Reader, 'counters' | 'size' | 'sizeBytes'>): void;
}

export function createServiceMetrics(registry: Registry): ServiceMetrics {
  const producerMetrics = new ProducerMetrics(registry);
  const watched: ReaderMetrics[] = [];
  return {
    observer: producerMetrics,
    watchProducer: (producer) => producerMetrics.watch(producer),
    watchReader: (reader) => void watched.push(new ReaderMetrics(registry, reader)),
  };
}
