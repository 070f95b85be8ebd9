import { Counter, Gauge, type Registry } from 'prom-client';
import type { ReadCounters, Reader } from '../types.ts';

type Watched = Pick<Reader, 'counters' | 'size' | 'sizeBytes'>;

/**
 * What a process reads: hits and misses tier by tier, L1, the filter, its place on the feed. The reader counts for itself;
 * a scrape only looks, so reads pay nothing for it.
 */
export class ReaderMetrics {
  readonly #registry: Registry;
  readonly #reader: Watched;

  constructor(registry: Registry, reader: Watched) {
    this.#registry = registry;
    this.#reader = reader;
    this.#lookups();
    const count = (name: string, help: string, read: (counters: ReadCounters) => number) =>
      this.#counter(name, help, read);
    const gauge = (name: string, help: string, read: (reader: Watched) => number) =>
      this.#gauge(name, help, read);

    count('tierline_l1_evictions_total', 'L1 entries put out for want of room', (c) => c.l1.evictions);
    count('tierline_l1_expirations_total', 'L1 entries whose time was up', (c) => c.l1.expirations);
    count('tierline_l1_flushes_total', 'Times L1 was emptied after a gap in the feed', (c) => c.l1.flushes);
    count(
      'tierline_l1_refused_fills_total',
      'Fills that a newer write kept out of L1',
      (c) => c.l1.refusedFills,
    );
    count('tierline_l2_failures_total', 'Requests that Redis did not answer', (c) => c.l2.failures);
    count('tierline_l2_skipped_total', 'Requests that the open breaker kept from Redis', (c) => c.l2.skipped);
    count(
      'tierline_l2_unfilled_total',
      'Items found in L3 that were not kept in L2, which had enough to take, or came too late',
      (c) => c.l2.unfilled,
    );
    count('tierline_l3_failures_total', 'Requests that Postgres did not answer', (c) => c.l3.failures);
    count(
      'tierline_filter_absent_total',
      'Ids proved absent by the filter, without SQL',
      (c) => c.filter.absent,
    );
    count('tierline_filter_loads_total', 'Times the filter was loaded', (c) => c.filter.loads);

    gauge('tierline_l1_items', 'Entries of L1, known absence included', (reader) => reader.size);
    gauge('tierline_l1_bytes', 'Bytes that L1 counts against its limit', (reader) => reader.sizeBytes);
    gauge('tierline_filter_items', 'Ids in the membership filter', (r) => r.counters.filter.ids);
    gauge('tierline_filter_bytes', 'Memory of the membership filter', (r) => r.counters.filter.sizeBytes);
    gauge(
      'tierline_filter_trusted',
      '1 while the word of the filter counts, else 0 and absence costs SQL',
      (r) => Number(r.counters.filter.trusted),
    );
    gauge(
      'tierline_reader_feed_live',
      '1 while this reader has seen the feed up to its head, else 0 and L1 is passed over',
      (r) => Number(r.counters.feed.live),
    );
    gauge(
      'tierline_reader_feed_position',
      'Number of the newest feed entry this reader has seen; tierline_feed_head less this is its lag',
      (r) => r.counters.feed.entry,
    );
  }

  #lookups(): void {
    const reader = this.#reader;
    this.#registry.registerMetric(
      new Counter({
        name: 'tierline_lookups_total',
        help: 'Ids looked up, by tier and whether it had them',
        labelNames: ['tier', 'result'],
        registers: [],
        collect() {
          const { l1, l2, l3 } = reader.counters;
          this.reset();
          for (const [tier, { hits, misses }] of Object.entries({ l1, l2, l3 })) {
            this.inc({ tier, result: 'hit' }, hits);
            this.inc({ tier, result: 'miss' }, misses);
          }
        },
      }),
    );
  }

  /** The totals are the reader's own; prom-client's are set to them. */
  #counter(name: string, help: string, read: (counters: ReadCounters) => number): void {
    const reader = this.#reader;
    this.#registry.registerMetric(
      new Counter({
        name,
        help,
        registers: [],
        collect() {
          this.reset();
          this.inc(read(reader.counters));
        },
      }),
    );
  }

  #gauge(name: string, help: string, read: (reader: Watched) => number): void {
    const reader = this.#reader;
    this.#registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read(reader));
        },
      }),
    );
  }
}
