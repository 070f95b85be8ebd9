import { type Chunk, contentOf, type Op, type Row } from '../batch/fold.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import {
  type FeedJob,
  type OperationException,
  OUTCOME_STATUSES,
  type OutcomeStatus,
} from '../schema/feed.ts';
import { isMoved } from '../schema/job.ts';
import { isNewerContent, isSameContent } from '../schema/register-order.ts';
import { versionOf } from '../schema/stored-item.ts';

export interface BatchResult {
  readonly ops: readonly Op[];
  /** By id, the rows that the batch writes to L3. */
  readonly rows: ReadonlyMap<string, Row>;
  /** By id, the rows that are different in L3, because another batch wrote them too. */
  readonly differing: ReadonlyMap<string, RowNow>;
  /** By id, the rows for L2 alone. `stored`: no newer one has won. A copy that L2 had no room for counts as evicted at once. */
  readonly cached: ReadonlyMap<string, { readonly row: Row; readonly stored: boolean }>;
  readonly dead: ReadonlyMap<Op, string>;
}

/** What the feed tells producers of each chunk. */
export function feedJobs(chunks: readonly Chunk[], result: BatchResult): FeedJob[] {
  const exceptions = new Map<Chunk, OperationException[]>();
  for (const op of result.ops) {
    const exception = exceptionOf(op, result);
    if (exception === undefined) continue;
    const list = exceptions.get(op.chunk);
    if (list === undefined) exceptions.set(op.chunk, [exception]);
    else list.push(exception);
  }
  return chunks.map((chunk) => ({
    chunkId: chunk.chunkId,
    operations: chunk.job.ids.length,
    outcome: { exceptions: exceptions.get(chunk) },
  }));
}

/** Undefined: the operation was applied, and the item has its stamp. */
function exceptionOf(op: Op, result: BatchResult): OperationException | undefined {
  const { index, stamp } = op;
  const reason = result.dead.get(op);
  if (reason !== undefined) return { index, status: 'dead', version: stamp, reason };
  // Of a moved row each register wins or loses for itself. Whoever moves it compares both sides afterwards.
  if (isMoved(op.chunk.job)) return undefined;
  if (op.tiers === 'cache') {
    const cached = result.cached.get(op.id);
    if (cached?.stored && isSameContent(cached.row, contentOf(op))) return undefined;
    return { index, status: 'superseded', version: cached?.row.contentVersion ?? stamp };
  }
  const now = result.differing.get(op.id) ?? result.rows.get(op.id);
  if (now === undefined) return undefined;
  if (hasLost(op, now)) return { index, status: 'superseded', version: versionOf(now) };
  if (op.kind === 'setState' && now.deleted) return { index, status: 'missing', version: stamp };
  return undefined;
}

/** Whether the register that the operation writes has a newer value. */
function hasLost(op: Op, now: Row | RowNow): boolean {
  if (op.kind !== 'setState') {
    return op.stamp === now.contentVersion
      ? isNewerContent(now, contentOf(op))
      : now.contentVersion > op.stamp;
  }
  return op.stamp === now.stateVersion
    ? op.chunk.job.states?.[op.index] !== now.state
    : now.stateVersion > op.stamp;
}

/** How many operations ended in each way. */
export function countOutcomes(jobs: readonly FeedJob[]): Record<OutcomeStatus, number> {
  const counts = Object.fromEntries(OUTCOME_STATUSES.map((status) => [status, 0])) as Record<
    OutcomeStatus,
    number
  >;
  for (const { operations, outcome } of jobs) {
    const exceptions = outcome.exceptions ?? [];
    counts.applied += operations - exceptions.length;
    for (const { status } of exceptions) counts[status]++;
  }
  return counts;
}
