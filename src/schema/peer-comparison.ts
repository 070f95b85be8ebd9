import { z } from 'zod';

/** Which side lacks what of a row. `older-both`: one side has the newer content, the other one the newer state. */
export const DIFFERENCE_KINDS = [
  'missing-here',
  'missing-there',
  'older-here',
  'older-there',
  'older-both',
] as const;

/** A row of one side: its newest stamp, and whether it is a tombstone. */
const side = z.object({ version: z.number(), deleted: z.boolean() });

const rowDifference = z.object({
  id: z.string(),
  kind: z.enum(DIFFERENCE_KINDS),
  here: side.optional(),
  there: side.optional(),
});
export type RowDifference = z.output<typeof rowDifference>;

/** What a comparison of this deployment with a peer found, as it is kept. */
export const peerComparisonSchema = z.object({
  /** Id of the peer's. */
  deployment: z.uuid(),
  /** Both have the same rows, tombstones included. */
  equal: z.boolean(),
  /** Rows that differed in the same way twice, by id. */
  differences: z.array(rowDifference),
  /** It was ended early, by the number of differences or by time: there may be others. */
  cut: z.boolean(),
});
export type PeerComparison = z.output<typeof peerComparisonSchema>;
