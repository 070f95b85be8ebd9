import { z } from 'zod';
import { LEAVES } from '../merkle/digest.ts';
import type { AcceptedRow, PeerRow } from '../types/merkle.ts';
import { checked, idSchema, MAX_STATE_BYTES, stateSchema } from './item.ts';
import { MAX_PEER_ROWS } from './options.ts';

/**
 * The bodies of the peer protocol (docs/peer-protocol.md), on both sides: what a gateway takes, and what `openPeer` believes of an
 * answer. Raise `PEER_PROTOCOL` when an older side would misunderstand a newer one.
 */
export const PEER_PROTOCOL = 1;

const stamp = z.int().min(0);
const count = z.int().min(0);
const digest = z.string().regex(/^[\da-f]{32}$/, 'must be 32 hex digits');
const hash = z.string().regex(/^(?:[\da-f]{64})?$/, 'must be a SHA-256 in hex, or empty');
const week = z.int().min(0).max(32_767);

const depth = z.union([z.literal(8), z.literal(12), z.literal(16)]);
const nodes = z
  .array(
    z
      .int()
      .min(0)
      .max(LEAVES - 1),
  )
  .max(LEAVES);

/** `POST /v1/merkle/nodes` */
export const nodesQuestion = z.strictObject({
  bits: depth,
  within: z.strictObject({ bits: z.union([z.literal(8), z.literal(12)]), nodes }).optional(),
  week: week.optional(),
});
const ids = z.array(idSchema).max(MAX_PEER_ROWS);
/** `POST /v1/merkle/items` */
export const itemsQuestion = z.union([
  z.strictObject({ leaves: nodes, week: week.optional() }),
  z.strictObject({ ids, week: week.optional() }),
]);
/** `POST /v1/merkle/registers` and `POST /v1/merkle/rows` */
export const idsQuestion = z.strictObject({ ids });

const registers = {
  id: idSchema,
  contentVersion: stamp,
  deleted: z.boolean(),
  contentHash: hash,
  stateVersion: stamp,
  state: stateSchema,
};
const rowSchema = z.strictObject({
  ...registers,
  binary: z.boolean(),
  body: z.string(),
  durable: z.boolean(),
  traceParent: z.string().max(MAX_STATE_BYTES).nullable(),
  digest,
});
/** `POST /v1/merkle/accept` */
export const rowsHandover = z.strictObject({
  rows: z
    .array(rowSchema)
    .max(MAX_PEER_ROWS)
    .refine((rows) => new Set(rows.map(({ id }) => id)).size === rows.length, 'has an id twice'),
});

export const identityAnswer = z.object({
  protocol: z.int(),
  deployment: z.string(),
  partitions: z.int(),
  scheme: z.int(),
  keyCheck: digest,
  purgeAfterMs: z.int().positive(),
});
const node = { count, digest };
export const nodeAnswer = z.object(node);
/** Columns of nodes: a list of objects would be three times as long. */
export const nodesAnswer = z
  .object({ nodes: z.array(z.int()), counts: z.array(count), digests: z.array(digest) })
  .refine(({ nodes, counts, digests }) => nodes.length === counts.length && nodes.length === digests.length);
export const itemsAnswer = z
  .object({ ids: z.array(idSchema), versions: z.array(stamp), digests: z.array(digest) })
  .refine(({ ids, versions, digests }) => ids.length === versions.length && ids.length === digests.length);
export const weeksAnswer = z.object({ weeks: z.array(z.object({ week, ...node })) });
export const registersAnswer = z.object({ registers: z.array(z.object(registers)) });
export const rowsAnswer = z.object({ rows: z.array(rowSchema), answered: count });
export const acceptAnswer = z.object({
  rows: z.array(
    z
      .object({ id: z.string(), status: z.enum(['taken', 'refused']), reason: z.string().optional() })
      .transform(
        ({ id, status, reason }): AcceptedRow =>
          reason === undefined ? { id, status } : { id, status, reason },
      ),
  ),
});

/** @throws InvalidItemError */
export function peerRowsOf(rows: readonly PeerRow[]): readonly PeerRow[] {
  return checked(rowsHandover, { rows }, 'rows').rows;
}

/** Which side lacks what of a row. `older-both`: one side has the newer content, the other one the newer state. */
const DIFFERENCE_KINDS = [
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
