import { abortableOpen } from '../abortable.ts';
import { loadConfig, type Config, type OpenOptions } from '../config.ts';
import { createLogger, type Logger } from '../log.ts';
import { RedisBackend } from '../redis/backend.ts';
import { checkQueueServer } from '../redis/masters.ts';
import { noteEnqueueTimeout, prepareStamps } from '../redis/chunk-notes.ts';
import { checkReplicas, replicaWaits } from '../redis/replica-waits.ts';
import type { Producer } from '../types/write.ts';
import type { Keys } from '../keys.ts';
import { limitsOfLane } from './admission.ts';
import { ChunkQueue } from './chunk-queue.ts';
import { ChunkTracker } from './chunk-tracker.ts';
import { ProducerLane } from './producer-lane.ts';
import { type ProducerObserver, UNOBSERVED_PRODUCER } from './producer-observer.ts';
import { QueueProducer } from './queue-producer.ts';
import type { SizedOperation } from './parsed-call.ts';
import type { ChunkTicket } from './ticket.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

/**
 * Opens the write side: Redis only, for any service.
 * @throws ConfigError, UnsafeServerError (also for fewer replicas than `enqueueReplicas`), and QueueUnavailableError within `enqueueTimeoutMs` when Redis is away
 */
export function openProducer(
  options?: OpenOptions,
  observer: ProducerObserver = UNOBSERVED_PRODUCER,
): Promise<Producer> {
  return abortableOpen(options, async (overrides) => {
    const config = loadConfig(overrides);
    return connectProducer(config, createLogger('producer', config.logLevel), { observer });
  });
}

/** @internal */
export interface ProducerHooks {
  readonly onAccepted?: (operation: SizedOperation, ticket: ChunkTicket) => void;
  readonly onSettled?: (chunk: TrackedChunk) => void;
  readonly observer?: ProducerObserver;
}

/**
 * As `openProducer`, for a store, which must know what is accepted and settled.
 * @internal
 */
export async function connectProducer(
  config: Config,
  log: Logger,
  hooks: ProducerHooks = {},
): Promise<QueueProducer> {
  const backend = new RedisBackend(config, log);
  const { queue: redis, keys: home } = backend;
  const observer = hooks.observer ?? UNOBSERVED_PRODUCER;
  const onSettled = (chunk: TrackedChunk) => {
    observer.chunkSettled(chunk.length, chunk.isLost);
    hooks.onSettled?.(chunk);
  };
  const producerLanes = await backend.opening(async () => {
    await backend.ready(config.enqueueTimeoutMs, 'queue');
    await checkQueueServer(redis, log);
    if (config.enqueueReplicas > 0) await checkReplicas(redis, config.enqueueReplicas);
    const lanes = await backend.lanes();
    // Follow the feeds before anything is submitted, so that no outcome is missed.
    await backend.ready(config.enqueueTimeoutMs, 'feeds');
    const { count, keys } = lanes;
    const replicasOf = replicaWaits(redis, keys, config.enqueueReplicas);
    const ofLane = { ...config, ...limitsOfLane(config, count) };
    const opened = backend.feeds(lanes).map((feed, partition) => {
      const laneKeys = keys[partition] as Keys;
      const tracker = new ChunkTracker(redis, laneKeys, log, () => feed.position, onSettled);
      const queue = new ChunkQueue(redis, laneKeys, ofLane, tracker, observer, log, replicasOf(laneKeys));
      feed.listen(tracker);
      return new ProducerLane(config, queue, tracker, observer);
    });
    await Promise.all(opened.map(({ queue }) => queue.ready(config.enqueueTimeoutMs)));
    await Promise.all(keys.map((laneKeys) => prepareStamps(redis, laneKeys)));
    await noteEnqueueTimeout(redis, home, config.enqueueTimeoutMs);
    return opened;
  });
  return new QueueProducer({
    config,
    lanes: producerLanes,
    observer,
    onAccepted: hooks.onAccepted ?? (() => undefined),
    release: () => backend.close(),
  });
}
