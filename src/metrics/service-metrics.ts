import { Counter, Gauge, type Registry } from 'prom-client';
import type { ProducerObserver } from '../producer/producer-observer.ts';
import type { ReplicaFigures } from '../types/health.ts';
import type { ReadCounters, Reader } from '../types/read.ts';
import type { Producer } from '../types/write.ts';
import { producerMetrics } from './process-metrics.ts';
import { Instruments } from './registry.ts';

/** What a service shows of its own producer, reader or store, in the prom-client registry that it serves itself. */
export interface ServiceMetrics {
  /** For `openProducer(options, observer)` and `openStore(options, observer)`. */
  readonly observer: ProducerObserver;
  /** Shows a producer's pressure. At most one a registry. */
  watchProducer(producer: Pick<Producer, 'pressure'>): void;
  /** Shows a reader's tiers. At most one a registry. */
  watchReader(reader: WatchedReader): void;
}

type WatchedReader = Pick<Reader, 'counters' | 'size' | 'sizeBytes'>;

export function createServiceMetrics(registry: Registry): ServiceMetrics {
  const make = new Instruments(registry);
  return {
    observer: producerMetrics(registry),
    watchProducer: (producer) =>
      make.gauge(
        'tierline_producer_pressure_ratio',
        'The largest of waiting items, waiting bytes and memory against their limits; 1 is full',
        () => producer.pressure().ratio,
      ),
    watchReader: (reader) => {
      addLookups(registry, reader);
      for (const [name, help, read] of TOTALS) make.total(name, help, () => read(reader.counters));
      for (const [name, help, read] of GAUGES) make.gauge(name, help, () => read(reader));
      addReplicaGauges(registry, reader);
    },
  };
}

type Figure<T> = readonly [name: string, help: string, read: (from: T) => number];

/** The reader counts for itself, and a scrape sets prom-client's totals to its own: reads pay nothing for it. */
const TOTALS: readonly Figure<ReadCounters>[] = [
  ['tierline_l1_evictions_total', 'L1 entries put out for want of room', (c) => c.l1.evictions],
  ['tierline_l1_expirations_total', 'L1 entries whose time was up', (c) => c.l1.expirations],
  ['tierline_l1_flushes_total', 'Times L1 was emptied after a gap in the feed', (c) => c.l1.flushes],
  ['tierline_l1_refused_fills_total', 'Fills that a newer write kept out of L1', (c) => c.l1.refusedFills],
  ['tierline_l2_failures_total', 'Requests that Redis did not answer', (c) => c.l2.failures],
  ['tierline_l2_skipped_total', 'Requests that the open breaker kept from Redis', (c) => c.l2.skipped],
  [
    'tierline_l2_unfilled_total',
    'Items found in L3 that were not kept in L2, which had enough to take, or came too late',
    (c) => c.l2.unfilled,
  ],
  ['tierline_l3_failures_total', 'Requests that Postgres did not answer', (c) => c.l3.failures],
  [
    'tierline_replica_failures_total',
    'Requests that a replica did not answer in time',
    (c) => c.replicas.failures,
  ],
  [
    'tierline_replica_passed_on_total',
    'Ids that went on to the primary, because no replica had replayed enough or none could be asked',
    (c) => c.replicas.passedOn,
  ],
  ['tierline_filter_absent_total', 'Ids proved absent by the filter, without SQL', (c) => c.filter.absent],
  ['tierline_filter_loads_total', 'Times the filter was loaded', (c) => c.filter.loads],
];

const GAUGES: readonly Figure<WatchedReader>[] = [
  ['tierline_l1_items', 'Entries of L1, known absence included', (r) => r.size],
  ['tierline_l1_bytes', 'Bytes that L1 counts against its limit', (r) => r.sizeBytes],
  ['tierline_filter_items', 'Ids in the membership filter', (r) => r.counters.filter.ids],
  ['tierline_filter_bytes', 'Memory of the membership filter', (r) => r.counters.filter.sizeBytes],
  [
    'tierline_filter_trusted',
    '1 while the word of the filter counts, else 0 and absence costs SQL',
    (r) => Number(r.counters.filter.trusted),
  ],
  [
    'tierline_reader_feed_live',
    '1 while this reader has seen the feed up to its head, else 0 and L1 is passed over',
    (r) => Number(r.counters.feed.live),
  ],
  [
    'tierline_reader_feed_position',
    'Number of the newest feed entry this reader has seen; tierline_feed_head less this is its lag',
    (r) => r.counters.feed.entry,
  ],
];

function addReplicaGauges(registry: Registry, reader: WatchedReader): void {
  const gauge = (name: string, help: string, read: (figures: ReplicaFigures) => number | undefined) =>
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: ['replica'],
        registers: [],
        collect() {
          this.reset();
          for (const figures of reader.counters.replicas.servers) {
            const value = read(figures);
            if (value !== undefined) this.set({ replica: figures.server }, value);
          }
        },
      }),
    );
  gauge(
    'tierline_replica_used',
    '1 while reads may go to this replica, else 0: it is away, too far behind, or no replica of the primary',
    ({ state }) => Number(state === 'used'),
  );
  gauge(
    'tierline_replica_lag_bytes',
    'Write-ahead log of the primary that this replica had not replayed when it was last asked',
    ({ lagBytes }) => lagBytes,
  );
}

function addLookups(registry: Registry, reader: WatchedReader): void {
  registry.registerMetric(
    new Counter({
      name: 'tierline_lookups_total',
      help: 'Ids looked up, by tier and whether it had them',
      labelNames: ['tier', 'result'],
      registers: [],
      collect() {
        const { l1, l2, l3, replicas: replica } = reader.counters;
        this.reset();
        for (const [tier, { hits, misses }] of Object.entries({ l1, l2, replica, l3 })) {
          this.inc({ tier, result: 'hit' }, hits);
          this.inc({ tier, result: 'miss' }, misses);
        }
      },
    }),
  );
}
