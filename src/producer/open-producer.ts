import { abortableOpen } from '../abortable.ts';
import { loadConfig, type Config, type OpenOptions } from '../config.ts';
import { createLogger, type Logger } from '../log.ts';
import { RedisBackend } from '../redis/backend.ts';
import { checkQueueServer } from '../redis/connect.ts';
import { noteEnqueueTimeout } from '../redis/chunk-notes.ts';
import { checkReplicas, ReplicaWaits } from '../redis/replica-waits.ts';
import type { Producer } from '../types/write.ts';
import { ChunkQueue } from './chunk-queue.ts';
import { ChunkTracker } from './chunk-tracker.ts';
import { QueueProducer } from './queue-producer.ts';
import type { SizedOperation } from './operation.ts';
import { type ProducerObserver, UNOBSERVED_PRODUCER } from './producer-observer.ts';
import type { ChunkTicket, TrackedChunk } from './ticket.ts';

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
  const { queue: redis, feed, keys } = backend;
  const observer = hooks.observer ?? UNOBSERVED_PRODUCER;
  const tracker = new ChunkTracker(
    redis,
    keys,
    log,
    () => feed.position.number,
    (chunk) => {
      observer.chunkSettled(chunk.length, chunk.isLost);
      hooks.onSettled?.(chunk);
    },
  );
  const queue = await backend.opening(async () => {
    await backend.ready(config.enqueueTimeoutMs, 'queue');
    await checkQueueServer(redis, log);
    if (config.enqueueReplicas > 0) await checkReplicas(redis, config.enqueueReplicas);
    // Follow the feed before anything is submitted, so that no outcome is missed.
    await backend.ready(config.enqueueTimeoutMs, 'feed');
    const replicas = config.enqueueReplicas > 0 ? new ReplicaWaits(redis, config.enqueueReplicas) : undefined;
    const chunks = new ChunkQueue(redis, keys, config, tracker, observer, log, replicas);
    await chunks.ready(config.enqueueTimeoutMs);
    await noteEnqueueTimeout(redis, keys, config.enqueueTimeoutMs);
    return chunks;
  });
  feed.listen(tracker);
  return new QueueProducer({
    config,
    queue,
    tracker,
    observer,
    onAccepted: hooks.onAccepted ?? (() => undefined),
    release: () => backend.close(),
  });
}
