import { z } from 'zod';
import { outcomeExceptionSchema } from './job.ts';

/**
 * One entry of the change feed, as the fields `n` (its number: one more than the entry before, so that a reader sees any
 * loss), `jobs` (for producers) and `changes` (for readers). The two are parsed apart: a producer skips the changes. An entry
 * of a new generation of L2 copies has both empty, and the generation as the field `cache`.
 */

/** `[chunk id, operations in it, exceptions]` of each chunk the batch settled. */
export const feedJobsSchema = z.array(z.tuple([z.string(), z.int(), z.array(outcomeExceptionSchema)]));
export type FeedJobs = z.output<typeof feedJobsSchema>;

/** Columns: ids, content stamps, state stamps (absent when all are 0), and one character an id: p present, d deleted, c L2 only. */
export const feedChangesSchema = z.strictObject({
  ids: z.array(z.string()),
  cv: z.array(z.int()),
  sv: z.array(z.int()).optional(),
  kinds: z.string().regex(/^[pdc]*$/),
});
export type FeedChanges = z.output<typeof feedChangesSchema>;

/** A place on the change feed: after entry `number`, whose stream id is `id`, of the Redis known by `epoch`. */
export interface FeedPosition {
  readonly epoch: string;
  readonly number: number;
  readonly id: string;
}
