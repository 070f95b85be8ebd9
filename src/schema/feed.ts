import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import { outcomeExceptionSchema } from './job.ts';
import { Letters } from './letters.ts';

/**
 * One entry of the change feed, as the fields `n` (its number: one more than the entry before, so that a reader sees any
 * loss), `jobs` (for producers) and `changes` (for readers). The two are parsed apart: a producer skips the changes. An entry
 * of a new generation of L2 copies has both empty, and the generation as the field `cache`.
 */

/** `[chunk id, operations in it, exceptions]` of each chunk the batch settled. */
export const feedJobsSchema = z.array(z.tuple([z.string(), z.int(), z.array(outcomeExceptionSchema)]));
export type FeedJobs = z.output<typeof feedJobsSchema>;

/** What an id is after its batch; `cacheOnly`: written to L2 and not to L3. */
export type ChangeKind = 'present' | 'deleted' | 'cacheOnly';
const KINDS = new Letters<ChangeKind>({ present: 'p', deleted: 'd', cacheOnly: 'c' });

/** Columns: ids, content stamps, state stamps (absent when all are 0), and one letter an id. */
export const feedChangesSchema = z.strictObject({
  ids: z.array(z.string()),
  cv: z.array(z.int()),
  sv: z.array(z.int()).optional(),
  kinds: z.string().regex(new RegExp(`^${KINDS.pattern}*$`)),
});
export type FeedChanges = z.output<typeof feedChangesSchema>;

export const NO_CHANGES: FeedChanges = { ids: [], cv: [], kinds: '' };

/** A row after its batch. */
export interface ChangedRow {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly deleted: boolean;
}

/** @param cacheOnly rows of L2 alone */
export function toFeedChanges(
  rows: readonly ChangedRow[],
  cacheOnly: readonly ChangedRow[] = [],
): FeedChanges {
  const all = [...rows, ...cacheOnly];
  const { present, deleted, cacheOnly: cached } = KINDS.of;
  return {
    ids: all.map((row) => row.id),
    cv: all.map((row) => row.contentVersion),
    ...(all.some((row) => row.stateVersion > 0) ? { sv: all.map((row) => row.stateVersion) } : {}),
    kinds: rows.map((row) => (row.deleted ? deleted : present)).join('') + cached.repeat(cacheOnly.length),
  };
}

export function changeKindAt({ kinds }: FeedChanges, index: number): ChangeKind {
  return KINDS.wordAt(kinds, index) as ChangeKind;
}

/** A place on the change feed: after entry `number`, whose stream id is `id`, of the Redis known by `epoch`. */
export interface FeedPosition {
  readonly epoch: string;
  readonly number: number;
  readonly id: string;
}
