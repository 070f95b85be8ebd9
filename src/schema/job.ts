import { z } from 'zod';
import { messageOf } from '../errors.ts';
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

/** Stops at the first element that is wrong: an array of zod's own tells of each, and of 200,000 in 35 MB. */
function column<T>(isElement: (value: unknown) => value is T, what: string) {
  return z.custom<T[]>((value) => Array.isArray(value) && value.every(isElement), {
    error: ({ input }) =>
      Array.isArray(input)
        ? `element ${input.findIndex((value) => !isElement(value))} is not ${what}`
        : 'must be an array',
  });
}
const orNull =
  <T>(isElement: (value: unknown) => value is T) =>
  (value: unknown): value is T | null =>
    value === null || isElement(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const isHash = (value: unknown): value is string => isText(value) && HASH.test(value);
const isLifetime = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

export const chunkSchema = z
  .strictObject({
    v: z.literal(1),
    first: z.int().positive(),
    ids: column((value): value is string => isText(value) && isId(value), 'an id'),
    kinds: z.string().regex(/^[jbds]+$/),
    /** Content; empty for d and s. */
    bodies: column(isText, 'a text'),
    /** `hashContent` of each content; empty for d and s. */
    hashes: column(isHash, 'a hash'),
    routes: z
      .string()
      .regex(/^[acd]+$/)
      .optional(),
    ttls: column(orNull(isLifetime), 'a time in ms').optional(),
    states: column(
      orNull((value): value is string => isText(value) && isState(value)),
      'a state',
    ).optional(),
    traces: column(orNull(isText), 'a text').optional(),
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

export const rangeSchema = z
  .strictObject({
    v: z.literal(1),
    kind: z.enum(['prefix', 'state']),
    value: z.string(),
    stamp: z.int().positive(),
  })
  .refine(({ kind, value }) => (kind === 'prefix' ? isId(value) : isState(value)), {
    path: ['value'],
    error: 'is no prefix or state that a producer takes',
  });

/** Range deletes are known by it in Postgres too. */
export const rangeIdSchema = z.uuid();

export type RangeJob = z.output<typeof rangeSchema>;

/** How many problems of a job are told. */
const MAX_PROBLEMS = 3;

/** What a job of a queue says, or why it is none of ours. @param text the job's data */
export function parseJob<T>(
  schema: z.ZodType<T>,
  jobId: string,
  text: string,
): { readonly data: T } | { readonly problem: string } {
  if (!isId(jobId)) return { problem: 'its id cannot be one' };
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    return { problem: `its data is not JSON: ${messageOf(error)}` };
  }
  const parsed = schema.safeParse(given);
  if (parsed.success) return { data: parsed.data };
  const { issues } = parsed.error;
  const told = issues
    .slice(0, MAX_PROBLEMS)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`));
  return { problem: `${told.join('; ')}${issues.length > MAX_PROBLEMS ? '; and more' : ''}` };
}

/**
 * The only kind of outcome that is stored: anything but `applied` at the operation's own stamp. `refused`, of operation 0, is
 * all of the job: no worker could read it.
 */
export const outcomeExceptionSchema = z.tuple([
  /** Index of the operation in its chunk; for a range, 0 tells how many items it deleted, 1 how many rows Postgres refused. */
  z.int().min(0),
  z.enum(['superseded', 'missing', 'dead', 'range', 'refused']),
  /** Version of the item once settled; for a range, the number. */
  z.int().min(0),
  z.string().nullable(),
]);
export type OutcomeException = z.output<typeof outcomeExceptionSchema>;
