import type { Chunk } from '../../src/batch/fold.ts';
import { BatchWriter } from '../../src/drain/batch-writer.ts';
import { UNOBSERVED_DRAIN, type WriterParts } from '../../src/drain/writer-parts.ts';
import { Digester } from '../../src/merkle/digest.ts';
import type { Keys } from '../../src/keys.ts';
import { hashRangeOf } from '../../src/lanes.ts';
import type { Deployment } from './deployment.ts';
import { regrouped } from './operations.ts';

/** The drain's own write path without its queue: tests choose the batches. For deployments of one lane. */
export function writerOf(deployment: Deployment): BatchWriter {
  return new BatchWriter(writerPartsOf(deployment));
}

/** As `writerOf`, for any number of lanes. Each lane has its part of a batch as a batch of its own. */
export function lanesWriterOf(deployment: Deployment): { write(chunks: readonly Chunk[]): Promise<void> } {
  const { lanes } = deployment;
  const writers = lanes.keys.map((_, lane) => new BatchWriter(writerPartsOf(deployment, lane)));
  return {
    async write(chunks) {
      const parts = regrouped(chunks, (id) => lanes.of(id));
      await Promise.all(Array.from(parts, ([lane, part]) => (writers[lane] as BatchWriter).write(part)));
    },
  };
}

export function writerPartsOf(
  { shards, redis, items, lanes, config, log }: Deployment,
  lane = 0,
): WriterParts {
  return {
    partition: shards.rowsOf(lane),
    queue: redis,
    items,
    keys: lanes.keys[lane] as Keys,
    hashes: hashRangeOf(lane, lanes.count),
    digester: new Digester(config.merkleKey),
    config,
    log,
    observer: UNOBSERVED_DRAIN,
    signal: new AbortController().signal,
  };
}
