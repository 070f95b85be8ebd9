import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import { Letters } from './letters.ts';
import { contentRank } from './register-order.ts';

/**
 * An entry of the change feed has the fields `n`, `jobs` and `changes`. `n` is its number, one more than that of the entry
 * before, so a reader notices a missing entry. `jobs` is for producers and `changes` for readers; each parses only its own.
 * When a new generation of L2 copies begins, an entry has both empty and the generation in the field `cache`.
 */

/** How an operation can end. */
export const OUTCOME_STATUSES = ['applied', 'superseded', 'missing', 'dead'] as const;
export type OutcomeStatus = (typeof OUTCOME_STATUSES)[number];

/** What that means to its caller. `isFine`: there is nothing to do about it. */
export const OUTCOMES: Readonly<Record<OutcomeStatus, { readonly isFine: boolean; readonly text: string }>> =
  {
    applied: { isFine: true, text: 'it shaped the item' },
    superseded: { isFine: true, text: 'a newer one had already won' },
    missing: { isFine: false, text: 'there is no such item to change' },
    dead: { isFine: false, text: 'it was refused, and stands in the dead letters' },
  };

/** Why the write of an outcome was not applied; undefined when its caller need not do anything about it. */
export function failureOf({
  status,
  reason,
}: {
  status: OutcomeStatus;
  reason?: string;
}): string | undefined {
  const { isFine, text } = OUTCOMES[status];
  return isFine ? undefined : `${text}: ${reason ?? 'no reason given'}`;
}

const exceptionStatus = z.enum(OUTCOME_STATUSES).exclude(['applied']);
/** The statuses that are stored. An operation of which nothing is stored was applied. */
export const EXCEPTION_STATUSES = exceptionStatus.options;

/** An operation that did not end as `applied`. */
export interface OperationException {
  /** Place of the operation in its chunk. */
  readonly index: number;
  readonly status: z.output<typeof exceptionStatus>;
  /** Version of the item once settled. For `dead` it is the operation's own stamp. */
  readonly version: number;
  readonly reason?: string | undefined;
}

/** What became of one chunk or range delete. Empty: every operation was applied. */
export interface ChunkOutcome {
  readonly exceptions?: readonly OperationException[] | undefined;
  /** Of a range delete: how many items it deleted, and how many rows Postgres refused to change. */
  readonly range?: { readonly deleted: number; readonly dead: number } | undefined;
  /** Why no worker could run the job: then none of it was applied. */
  readonly refused?: string | undefined;
}

/** An outcome as JSON, with each exception as `[index, status, version, reason]`. */
const outcomeSchema = z.strictObject({
  exceptions: z
    .array(
      z
        .tuple([z.int().min(0), exceptionStatus, z.int().min(0), z.string().optional()])
        .transform(([index, status, version, reason]) => ({ index, status, version, reason })),
    )
    .optional(),
  range: z.strictObject({ deleted: z.int().min(0), dead: z.int().min(0) }).optional(),
  refused: z.string().optional(),
});

function outcomeValue({ exceptions, range, refused }: ChunkOutcome): z.input<typeof outcomeSchema> {
  return {
    exceptions: exceptions?.map(({ index, status, version, reason }) =>
      reason === undefined ? [index, status, version] : [index, status, version, reason],
    ),
    range,
    refused,
  };
}

export function encodeOutcome(outcome: ChunkOutcome): string {
  return JSON.stringify(outcomeValue(outcome));
}

/** @throws when the text is none that `encodeOutcome` wrote */
export function decodeOutcome(text: string): ChunkOutcome {
  return outcomeSchema.parse(JSON.parse(text));
}

/** Whether nothing has to be stored of it. */
export function isAllApplied({ exceptions, range, refused }: ChunkOutcome): boolean {
  return exceptions === undefined && range === undefined && refused === undefined;
}

/** A chunk or range delete that a batch settled, and what became of it. It is no job of the queue any more. */
export interface FeedJob {
  readonly chunkId: string;
  /** How many operations it has. */
  readonly operations: number;
  readonly outcome: ChunkOutcome;
}

const jobsSchema = z.array(
  z
    .tuple([z.string(), z.int(), outcomeSchema.optional()])
    .transform(
      ([chunkId, operations, outcome]): FeedJob => ({ chunkId, operations, outcome: outcome ?? {} }),
    ),
);

export function encodeFeedJobs(jobs: readonly FeedJob[]): string {
  return JSON.stringify(
    jobs.map(({ chunkId, operations, outcome }) =>
      isAllApplied(outcome) ? [chunkId, operations] : [chunkId, operations, outcomeValue(outcome)],
    ),
  );
}

/** @throws when the text is none that `encodeFeedJobs` wrote */
export function decodeFeedJobs(text: string): FeedJob[] {
  return jobsSchema.parse(JSON.parse(text));
}

/** What an id is after its batch. `cacheOnly`: it was written to L2 and not to L3. */
export type ChangeKind = 'present' | 'deleted' | 'cacheOnly';
const KINDS = new Letters<ChangeKind>({ present: 'p', deleted: 'd', cacheOnly: 'c' });

/** Columns: ids, content stamps, state stamps (absent when all are 0), and one letter an id. */
export const feedChangesSchema = z.strictObject({
  ids: z.array(z.string()),
  cv: z.array(z.int()),
  sv: z.array(z.int()).optional(),
  kinds: z.string().regex(new RegExp(`^${KINDS.pattern}*$`)),
  /** Place, rank of the content and state of rows in which values of one stamp may have replaced each other. */
  ties: z.array(z.tuple([z.int().min(0), z.int(), z.string()])).optional(),
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

/** A row in which a tie was decided (`schema/register-order.ts`). */
interface DecidedRow extends ChangedRow {
  readonly contentHash: string;
  readonly state: string;
}

/**
 * @param cacheOnly rows of L2 alone
 * @param decided by id, those of `rows` in which values of one stamp may have replaced each other
 */
export function toFeedChanges(
  rows: readonly ChangedRow[],
  cacheOnly: readonly ChangedRow[] = [],
  decided: ReadonlyMap<string, DecidedRow> = NONE_DECIDED,
): FeedChanges {
  const all = [...rows, ...cacheOnly];
  const { present, deleted, cacheOnly: cached } = KINDS.of;
  return {
    ids: all.map((row) => row.id),
    cv: all.map((row) => row.contentVersion),
    ...(all.some((row) => row.stateVersion > 0) ? { sv: all.map((row) => row.stateVersion) } : {}),
    kinds: rows.map((row) => (row.deleted ? deleted : present)).join('') + cached.repeat(cacheOnly.length),
    ...(decided.size > 0 ? { ties: tiesOf(rows, decided) } : {}),
  };
}

const NONE_DECIDED: ReadonlyMap<string, DecidedRow> = new Map();

function tiesOf(
  rows: readonly ChangedRow[],
  decided: ReadonlyMap<string, DecidedRow>,
): NonNullable<FeedChanges['ties']> {
  return rows.flatMap(({ id }, place) => {
    const row = decided.get(id);
    return row === undefined ? [] : [[place, contentRank(row.deleted, row.contentHash), row.state]];
  });
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
