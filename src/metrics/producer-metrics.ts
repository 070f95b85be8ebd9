import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ChunkQueued, ProducerObserver, RefusalKind } from '../producer/producer-observer.ts';
import type { Producer } from '../types/write.ts';
import { seconds, STAGE_BUCKETS } from './registry.ts';

/** What a process submits. Pass it to `openProducer` or `openStore` as the observer. */
export class ProducerMetrics implements ProducerObserver {
  readonly #items: Counter<'result'>;
  readonly #bytes: Counter;
  readonly #chunks: Counter;
  readonly #chunkItems: Histogram;
  readonly #enqueue: Histogram;
  readonly #delay: Histogram;
  readonly #settled: Counter<'result'>;
  readonly #registry: Registry;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#registry = registry;
    this.#items = new Counter({
      name: 'tierline_producer_submits_total',
      help: 'Operations handed to the queue: accepted, full: the queue had no room, refused: Redis did not take them',
      labelNames: ['result'],
      registers,
    });
    for (const result of ['accepted', 'full', 'refused']) this.#items.inc({ result }, 0);
    this.#bytes = new Counter({
      name: 'tierline_producer_submitted_bytes_total',
      help: 'Content bytes of accepted operations',
      registers,
    });
    this.#chunks = new Counter({
      name: 'tierline_producer_chunks_total',
      help: 'Chunks accepted by the queue',
      registers,
    });
    this.#chunkItems = new Histogram({
      name: 'tierline_producer_chunk_items',
      help: 'Operations in one chunk',
      buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000],
      registers,
    });
    this.#enqueue = new Histogram({
      name: 'tierline_producer_enqueue_seconds',
      help: 'From a full chunk to its job in Redis',
      buckets: STAGE_BUCKETS,
      registers,
    });
    this.#delay = new Histogram({
      name: 'tierline_producer_delay_seconds',
      help: 'How long a chunk waited because the queue filled up; one observation a delayed chunk',
      buckets: STAGE_BUCKETS,
      registers,
    });
    this.#settled = new Counter({
      name: 'tierline_producer_settled_items_total',
      help: 'Operations of this process whose fate is known; lost: Redis came back without them, or this process closed first',
      labelNames: ['result'],
      registers,
    });
    for (const result of ['settled', 'lost']) this.#settled.inc({ result }, 0);
  }

  /** Shows what the producer knows of the pressure on the queue. */
  watch(producer: Pick<Producer, 'pressure'>): void {
    this.#registry.registerMetric(
      new Gauge({
        name: 'tierline_producer_pressure_ratio',
        help: 'The largest of waiting items, waiting bytes and memory against their limits; 1 is full',
        registers: [],
        collect() {
          this.set(producer.pressure().ratio);
        },
      }),
    );
  }

  chunkQueued({ items, bytes, enqueueMs }: ChunkQueued): void {
    this.#chunks.inc();
    this.#items.inc({ result: 'accepted' }, items);
    this.#bytes.inc(bytes);
    this.#chunkItems.observe(items);
    this.#enqueue.observe(seconds(enqueueMs));
  }

  chunkRefused(items: number, kind: RefusalKind): void {
    this.#items.inc({ result: kind }, items);
  }

  chunkDelayed(delayMs: number): void {
    this.#delay.observe(seconds(delayMs));
  }

  chunkSettled(items: number, failed: boolean): void {
    this.#settled.inc({ result: failed ? 'lost' : 'settled' }, items);
  }
}
