import { BatchWriter } from '../../src/drain/batch-writer.ts';
import { UNOBSERVED_DRAIN, type WriterParts } from '../../src/drain/writer-parts.ts';
import { Digester } from '../../src/merkle/digest.ts';
import type { Deployment } from './deployment.ts';

/** The drain's own write path without its queue: tests choose the batches. */
export function writerOf(deployment: Deployment): BatchWriter {
  return new BatchWriter(writerPartsOf(deployment));
}

export function writerPartsOf({ shards, redis, items, keys, config, log }: Deployment): WriterParts {
  return {
    partition: shards.rowsOf(0),
    queue: redis,
    items,
    keys,
    hashes: undefined,
    digester: new Digester(config.merkleKey),
    config,
    log,
    observer: UNOBSERVED_DRAIN,
    signal: new AbortController().signal,
  };
}
