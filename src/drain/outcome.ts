import type { Chunk, Op, Row } from '../batch/fold.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import type { OutcomeException } from '../schema/job.ts';
import type { FeedJobs } from '../schema/feed.ts';
import { versionOf } from '../schema/stored-item.ts';

export interface BatchResult {
  readonly ops: readonly Op[];
  /** By id, what the batch says of L3. */
  readonly rows: ReadonlyMap<string, Row>;
  /** Rows that stand otherwise in L3. */
  readonly differing: ReadonlyMap<string, RowNow>;
  /** By id, what the batch says of L2 alone, and whether L2 took it. */
  readonly cached: ReadonlyMap<string, { readonly row: Row; readonly stored: boolean }>;
  readonly dead: ReadonlyMap<Op, string>;
}

/** What the feed tells producers: per chunk, every operation whose outcome is not plain `applied`. */
export function feedJobs(chunks: readonly Chunk[], result: BatchResult): FeedJobs {
  const exceptions = new Map<Chunk, OutcomeException[]>();
  for (const op of result.ops) {
    const exception = exceptionOf(op, result);
    if (exception === undefined) continue;
    const list = exceptions.get(op.chunk);
    if (list === undefined) exceptions.set(op.chunk, [exception]);
    else list.push(exception);
  }
  return chunks.map((chunk) => [chunk.chunkId, chunk.job.ids.length, exceptions.get(chunk) ?? []]);
}

function exceptionOf(op: Op, result: BatchResult): OutcomeException | undefined {
  const reason = result.dead.get(op);
  if (reason !== undefined) return [op.index, 'dead', op.stamp, reason];
  if (op.tiers === 'cache') {
    const cached = result.cached.get(op.id);
    if (cached?.stored && cached.row.contentVersion === op.stamp) return undefined;
    return [op.index, 'superseded', cached?.row.contentVersion ?? op.stamp, null];
  }
  const now = result.differing.get(op.id) ?? result.rows.get(op.id);
  if (now === undefined) return undefined;
  const register = op.kind === 'setState' ? now.stateVersion : now.contentVersion;
  if (register > op.stamp) return [op.index, 'superseded', versionOf(now), null];
  if (op.kind === 'setState' && now.deleted) return [op.index, 'missing', op.stamp, null];
  return undefined;
}
