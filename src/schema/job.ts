import { z } from 'zod';
import { isId, isState } from './item.ts';

/**
 * One BullMQ job of the writes queue: a chunk, as columns (parsing 500 items as columns takes a third of the time of
 * 500 objects). Operation i carries the stamp `first + i`. Optional columns are absent when no operation uses them.
 */
export const CHUNK_JOB = 'chunk';

/** Drain workers retry inside; a job fails only by a fault of ours, and then the queue goes on trying. */
export const WRITE_JOB_OPTIONS = {
  removeOnComplete: true,
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 5000 },
} as const;

/** One character an operation: j JSON content, b binary content (base64), d delete, s set state. */
export type OpKind = 'j' | 'b' | 'd' | 's';
/** One character an operation: a all tiers, c cache, d durable. */
export type RouteCode = 'a' | 'c' | 'd';

/** Hex SHA-256, or none. */
const HASH = /^(?:[\da-f]{64})?$/;

export const chunkSchema = z
  .strictObject({
    v: z.literal(1),
    first: z.int().positive(),
    ids: z
      .array(z.string())
      .min(1)
      .refine((ids) => ids.every(isId), 'has an id that cannot be'),
    kinds: z.string().regex(/^[jbds]+$/),
    /** Content; empty for d and s. */
    bodies: z.array(z.string()),
    /** `hashContent` of each content; empty for d and s. */
    hashes: z
      .array(z.string())
      .refine((hashes) => hashes.every((hash) => HASH.test(hash)), 'has a hash that is none'),
    routes: z
      .string()
      .regex(/^[acd]+$/)
      .optional(),
    ttls: z.array(z.int().positive().nullable()).optional(),
    states: z
      .array(z.string().nullable())
      .refine(
        (states) => states.every((state) => state === null || isState(state)),
        'has a state that cannot be',
      )
      .optional(),
    traces: z.array(z.string().nullable()).optional(),
    /** All of it is applied in one transaction, or none. */
    atomic: z.boolean().optional(),
  })
  .refine(
    (chunk) =>
      [chunk.kinds, chunk.bodies, chunk.hashes, chunk.routes, chunk.ttls, chunk.states, chunk.traces].every(
        (column) => column === undefined || column.length === chunk.ids.length,
      ),
    'columns differ in length',
  );

export type ChunkJob = z.output<typeof chunkSchema>;

const REPLAY_PREFIX = 'replay-';

/** Id of a chunk that replays dead letters under the stamps they had. */
export function replayChunkId(unique: string): string {
  return REPLAY_PREFIX + unique;
}

export function isReplay(chunkId: string): boolean {
  return chunkId.startsWith(REPLAY_PREFIX);
}

/** An operation in `dead_letters`: as it was queued. */
export const deadPayloadSchema = z.object({
  id: z.string().min(1),
  stamp: z.int().positive(),
  kind: z.enum(['j', 'b', 'd', 's']),
  route: z.enum(['a', 'c', 'd']),
  body: z.string(),
  hash: z.string(),
  ttlMs: z.int().positive().nullable(),
  state: z.string().min(1).nullable(),
  traceParent: z.string().nullable(),
  /** It stands or falls with the others of its chunk. */
  atomic: z.boolean().default(false),
});
export type DeadPayload = z.output<typeof deadPayloadSchema>;

/** One job of the ranges queue: every item of a prefix or a state is deleted as of `stamp`. */
export const RANGE_JOB = 'range';

export const rangeSchema = z.strictObject({
  v: z.literal(1),
  kind: z.enum(['prefix', 'state']),
  value: z.string().min(1),
  stamp: z.int().positive(),
});

export type RangeJob = z.output<typeof rangeSchema>;

/**
 * The only kind of outcome that is stored: anything but `applied` at the operation's own stamp. `refused`, of operation 0, is
 * all of the job: no worker could read it.
 */
export const outcomeExceptionSchema = z.tuple([
  /** Index of the operation in its chunk. */
  z.int().min(0),
  z.enum(['superseded', 'missing', 'dead', 'range', 'refused']),
  /** Version of the item once settled; for a range, how many items it deleted. */
  z.int().min(0),
  z.string().nullable(),
]);
export type OutcomeException = z.output<typeof outcomeExceptionSchema>;
