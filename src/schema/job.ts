import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Tiers } from '../types/write.ts';
import { DEFAULT_STATE, isId, isState } from './item.ts';
import { Letters } from './letters.ts';

/**
 * One BullMQ job of the writes queue is a chunk of operations, stored as columns: parsing 500 items as columns takes a third of
 * the time of 500 objects. Operation i has the stamp `first + i`. A column that no operation uses is left out.
 */
export const CHUNK_JOB = 'chunk';

/** Drain workers retry within a job. A job fails only through a bug, and then the queue tries it again. */
export const WRITE_JOB_OPTIONS = {
  removeOnComplete: true,
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 5000 },
} as const;

/** What an operation does. The body of `putBinary` is base64. */
export type OperationKind = 'putJson' | 'putBinary' | 'delete' | 'setState';

const KINDS = new Letters<OperationKind>({ putJson: 'j', putBinary: 'b', delete: 'd', setState: 's' });
/** The letters of stored items too. */
export const TIERS = new Letters<Tiers>({ all: 'a', cache: 'c', durable: 'd' });

/** An operation as a producer queues it, and as `dead_letters` keeps it. */
export interface Operation {
  readonly id: string;
  readonly kind: OperationKind;
  readonly tiers: Tiers;
  /** Content; empty for `delete` and `setState`. */
  readonly body: string;
  /** `hashContent` of the content; empty for `delete` and `setState`. */
  readonly hash: string;
  readonly ttlMs: number | null;
  readonly state: string | null;
  readonly traceParent: string | null;
}

/** SHA-256 in hex, or an empty text. */
const HASH = /^(?:[\da-f]{64})?$/;

/** Reports only the first wrong element. An array of zod's reports each one, which takes 35 MB for 200,000 of them. */
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
const isStamp = (value: unknown): value is Stamp => Number.isSafeInteger(value) && (value as number) >= 0;
const isLifetime = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

export const chunkSchema = z
  .strictObject({
    v: z.literal(1),
    first: z.int().positive(),
    ids: column((value): value is string => isText(value) && isId(value), 'an id'),
    /** One letter an operation. */
    kinds: z.string().regex(new RegExp(`^${KINDS.pattern}+$`)),
    bodies: column(isText, 'a text'),
    hashes: column(isHash, 'a hash'),
    /** One letter an operation; left out when all of them go to all tiers. */
    tiers: z
      .string()
      .regex(new RegExp(`^${TIERS.pattern}+$`))
      .optional(),
    ttls: column(orNull(isLifetime), 'a time in ms').optional(),
    states: column(
      orNull((value): value is string => isText(value) && isState(value)),
      'a state',
    ).optional(),
    traces: column(orNull(isText), 'a text').optional(),
    /** All operations are applied in one transaction, or none. */
    atomic: z.boolean().optional(),
    /**
     * Rows of another deployment with the stamps that they have there: of the content, or of the state where the kind is
     * `setState`; and of the state, 0 where it was never set. Then `first` is the newest of them. A worker that is older than
     * this column refuses such a chunk.
     */
    stamps: column(isStamp, 'a stamp').optional(),
    stateStamps: column(isStamp, 'a stamp').optional(),
  })
  .refine(
    (chunk) =>
      [
        chunk.kinds,
        chunk.bodies,
        chunk.hashes,
        chunk.tiers,
        chunk.ttls,
        chunk.states,
        chunk.traces,
        chunk.stamps,
        chunk.stateStamps,
      ].every((column) => column === undefined || column.length === chunk.ids.length),
    'columns differ in length',
  )
  .refine(
    ({ stamps, stateStamps }) => (stamps === undefined) === (stateStamps === undefined),
    'has one of two columns of stamps',
  );

export type ChunkJob = z.output<typeof chunkSchema>;

/** Writes operations as a job. Columns that no operation uses are left out. */
export function toChunkJob(first: Stamp, operations: readonly Operation[], atomic: boolean): ChunkJob {
  const column = <K extends keyof Operation>(key: K): Operation[K][] =>
    operations.map((operation) => operation[key]);
  const used = (key: 'ttlMs' | 'state' | 'traceParent') =>
    operations.some((operation) => operation[key] !== null);
  return {
    v: 1,
    first,
    ids: column('id'),
    kinds: KINDS.encode(column('kind')),
    bodies: column('body'),
    hashes: column('hash'),
    ...(operations.some(({ tiers }) => tiers !== 'all') ? { tiers: TIERS.encode(column('tiers')) } : {}),
    ...(used('ttlMs') ? { ttls: column('ttlMs') } : {}),
    ...(used('state') ? { states: column('state') } : {}),
    ...(used('traceParent') ? { traces: column('traceParent') } : {}),
    ...(atomic ? { atomic } : {}),
  };
}

/** A row as another deployment has it: an operation, and the stamps of both registers. */
export interface StampedOperation extends Operation {
  readonly stamp: Stamp;
  readonly stateStamp: Stamp;
}

/** Writes rows of another deployment as a job. */
export function toMovedJob(operations: readonly StampedOperation[]): ChunkJob {
  const stamps = operations.map(({ stamp }) => stamp);
  const stateStamps = operations.map(({ stateStamp }) => stateStamp);
  const newest = [...stamps, ...stateStamps].reduce((a, b) => Math.max(a, b), 1);
  return { ...toChunkJob(newest, operations, false), stamps, stateStamps };
}

export function stampAt({ first, stamps }: ChunkJob, index: number): Stamp {
  return stamps === undefined ? first + index : (stamps[index] as Stamp);
}

/** The stamp with which an operation writes the state, if it does. */
export function stateStampAt(job: ChunkJob, index: number): Stamp {
  return job.stateStamps === undefined ? stampAt(job, index) : (job.stateStamps[index] as Stamp);
}

/** The state that an operation writes; undefined when it writes none. A delete writes the default one, unless the row was moved. */
export function stateAt(job: ChunkJob, index: number): string | undefined {
  if (job.stateStamps === undefined && kindAt(job, index) === 'delete') return DEFAULT_STATE;
  return job.states?.[index] ?? undefined;
}

/** Whether its rows come from another deployment. */
export function isMoved({ stamps }: ChunkJob): boolean {
  return stamps !== undefined;
}

export function kindAt({ kinds }: ChunkJob, index: number): OperationKind {
  return KINDS.wordAt(kinds, index) as OperationKind;
}

export function tiersAt({ tiers }: ChunkJob, index: number): Tiers {
  return tiers === undefined ? 'all' : (TIERS.wordAt(tiers, index) as Tiers);
}

/** Whether an operation has to find the item whose state it sets. A moved state was set elsewhere, and only its stamp counts. */
export function setsState(job: ChunkJob): boolean {
  return job.kinds.includes(KINDS.of.setState) && !isMoved(job);
}

const REPLAY_PREFIX = 'replay-';

/** Id of a chunk whose operations have stamps from before: a replay of dead letters, or rows of another deployment. */
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
  kind: z.enum(['putJson', 'putBinary', 'delete', 'setState']),
  tiers: z.enum(['all', 'cache', 'durable']),
  body: z.string(),
  hash: z.string(),
  ttlMs: z.int().positive().nullable(),
  state: z.string().min(1).nullable(),
  traceParent: z.string().nullable(),
  /** It is applied together with all others of its chunk, or not at all. */
  atomic: z.boolean().default(false),
  /** Of a row of another deployment: the stamp of its state, 0 when that was never set. */
  stateStamp: z.int().min(0).nullable().default(null),
  /** The whole of an atomic call. Older letters do not tell it. */
  whole: z.object({ first: z.int().positive(), count: z.int().positive() }).nullable().default(null),
});
export type DeadPayload = z.output<typeof deadPayloadSchema>;

/** JSON text of one operation of a chunk, for people and for replay. */
export function deadPayloadOf(job: ChunkJob, index: number): string {
  return JSON.stringify({
    id: job.ids[index] as string,
    stamp: stampAt(job, index),
    kind: kindAt(job, index),
    tiers: tiersAt(job, index),
    body: job.bodies[index] as string,
    hash: job.hashes[index] as string,
    ttlMs: job.ttls?.[index] ?? null,
    state: job.states?.[index] ?? null,
    traceParent: job.traces?.[index] ?? null,
    atomic: job.atomic === true,
    stateStamp: job.stateStamps?.[index] ?? null,
    whole: job.atomic === true ? { first: job.first, count: job.ids.length } : null,
  } satisfies DeadPayload);
}

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

/** The id of a range delete, in Postgres too. */
export const rangeIdSchema = z.uuid();

export type RangeJob = z.output<typeof rangeSchema>;

/** How many problems of a job are reported. */
const MAX_PROBLEMS = 3;

/** Parses the data of a job, or says why no producer of Tierline wrote it. @param text the job's data */
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
