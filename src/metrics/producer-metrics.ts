import type { Registry } from 'prom-client';
import type { ProducerObserver } from '../producer/producer-observer.ts';
import { Instruments, seconds, STAGE_BUCKETS } from './registry.ts';

/** What a process submits. Pass it to `openProducer` or `openStore` as the observer. */
export function producerMetrics(registry: Registry): ProducerObserver {
  const make = new Instruments(registry);
  const submits = make.counterBy(
    'tierline_producer_submits_total',
    'Operations handed to the queue: accepted, full: the queue had no room, refused: Redis did not take them',
    'result',
    ['accepted', 'full', 'refused'],
  );
  const submittedBytes = make.counter(
    'tierline_producer_submitted_bytes_total',
    'Content bytes of accepted operations',
  );
  const chunks = make.counter('tierline_producer_chunks_total', 'Chunks accepted by the queue');
  const chunkItems = make.histogram(
    'tierline_producer_chunk_items',
    'Operations in one chunk',
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000],
  );
  const enqueue = make.histogram(
    'tierline_producer_enqueue_seconds',
    'From a full chunk to its job in Redis',
    STAGE_BUCKETS,
  );
  const delay = make.histogram(
    'tierline_producer_delay_seconds',
    'How long a chunk waited because the queue filled up; one observation a delayed chunk',
    STAGE_BUCKETS,
  );
  const settled = make.counterBy(
    'tierline_producer_settled_items_total',
    'Operations of this process whose fate is known; lost: Redis came back without them, or this process closed first',
    'result',
    ['settled', 'lost'],
  );
  return {
    chunkQueued({ items, bytes, enqueueMs }) {
      chunks.inc();
      submits.inc({ result: 'accepted' }, items);
      submittedBytes.inc(bytes);
      chunkItems.observe(items);
      enqueue.observe(seconds(enqueueMs));
    },
    chunkRefused: (items, kind) => submits.inc({ result: kind }, items),
    chunkDelayed: (delayMs) => delay.observe(seconds(delayMs)),
    chunkSettled: (items, failed) => settled.inc({ result: failed ? 'lost' : 'settled' }, items),
  };
}
