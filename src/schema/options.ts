import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import { LEAVES } from '../merkle/digest.ts';
import type { LeafOptions, MerklePeer, RepairCounts, VerifyProgress } from '../types/merkle.ts';
import { checked, isId, stateSchema } from './item.ts';

const MAX_PAGE_ITEMS = 1000;

const signal = z.instanceof(AbortSignal, { error: 'must be an AbortSignal' }).optional();
const after = z.string('must be a cursor').optional();

/**
 * Makes a function that checks the options of a call. It reads each option once and refuses unknown names. Most calls have no
 * options and cost nothing here; the others cost half a microsecond.
 */
export function optionsReader<S extends z.ZodObject>(schema: S): (options: unknown) => z.output<S> {
  const defaults = schema.parse({});
  Object.freeze(defaults);
  return (options) => (options === undefined ? defaults : checked(schema, options, 'options'));
}

export const callOptionsOf = optionsReader(z.strictObject({ signal }));

export const waitOptionsOf = optionsReader(
  z.strictObject({
    timeoutMs: z
      .custom<number>((value) => typeof value === 'number' && value >= 0, 'must be 0 or more milliseconds')
      .optional(),
    signal,
  }),
);

export const getOptionsOf = optionsReader(z.strictObject({ verify: z.boolean().default(false), signal }));

export const pageOptionsOf = optionsReader(
  z.strictObject({
    limit: z
      .int(`must be 1 to ${MAX_PAGE_ITEMS}`)
      .min(1, `must be 1 to ${MAX_PAGE_ITEMS}`)
      .max(MAX_PAGE_ITEMS, `must be 1 to ${MAX_PAGE_ITEMS}`)
      .default(100),
    after,
    signal,
  }),
);

export const scanOptionsOf = optionsReader(z.strictObject({ after, signal }));

export const insertOptionsOf = optionsReader(z.strictObject({ state: stateSchema.optional(), signal }));

export const deleteManyOptionsOf = optionsReader(
  z.strictObject({ atomic: z.boolean().default(false), signal }),
);

const submitOptions = z.strictObject({
  tiers: z.enum(['all', 'cache', 'durable']).default('all'),
  ttlMs: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  state: stateSchema.optional(),
  signal,
});
const readSubmitOptions = optionsReader(submitOptions);
const readSubmitManyOptions = optionsReader(submitOptions.extend({ atomic: z.boolean().default(false) }));

export function submitOptionsOf(options: unknown): ReturnType<typeof readSubmitOptions> {
  return withUsefulTtl(readSubmitOptions(options));
}

export function submitManyOptionsOf(options: unknown): ReturnType<typeof readSubmitManyOptions> {
  return withUsefulTtl(readSubmitManyOptions(options));
}

function withUsefulTtl<T extends z.output<typeof submitOptions>>(options: T): T {
  if (options.tiers === 'durable' && options.ttlMs !== undefined) {
    throw new InvalidItemError(
      'ttlMs',
      'bounds the L2 copy, which tiers: "durable" does not make; leave one out',
    );
  }
  return options;
}

const MAX_RECHECK_MS = 60_000;
const MAX_DIFFERENCES = 100_000;

const depth = z.union([z.literal(8), z.literal(12), z.literal(16)]);
const innerDepth = z.union([z.literal(8), z.literal(12)]);
const leaves = z
  .array(
    z
      .int()
      .min(0)
      .max(LEAVES - 1),
  )
  .max(LEAVES);

/** As far as a leaf's number holds it. */
const week = z.int().min(0).max(32_767);

const leafOptions = z
  .strictObject({
    bits: depth.optional(),
    within: z.strictObject({ bits: innerDepth, nodes: leaves }).optional(),
    week: week.optional(),
    signal: z.instanceof(AbortSignal).optional(),
  })
  .refine(({ bits = 16, within }) => within === undefined || within.bits < bits, {
    path: ['within'],
    message: 'must be nodes of a smaller depth than bits',
  })
  .refine(({ within }) => within?.nodes.every((node) => node < 2 ** within.bits) !== false, {
    path: ['within', 'nodes'],
    message: 'has a node beyond its depth',
  });

/** @throws InvalidItemError */
export const verifyOptionsOf = optionsReader(
  z
    .strictObject({
      content: z.boolean().default(false),
      after,
      onProgress: z
        .custom<(progress: VerifyProgress) => void>(
          (value) => typeof value === 'function',
          'must be a function',
        )
        .optional(),
      signal,
    })
    .refine(({ content, after }) => content || after === undefined, {
      path: ['after'],
      message: 'is a place among rows, which only content: true looks at',
    }),
);

/** @throws InvalidItemError */
export const diffOptionsOf = optionsReader(
  z.strictObject({
    limit: z.int().min(1).max(MAX_DIFFERENCES).default(1000),
    recheckMs: z.int().min(0).max(MAX_RECHECK_MS).default(1000),
    signal: z.instanceof(AbortSignal, { error: 'must be an AbortSignal' }).optional(),
  }),
);

const readLeafOptions = optionsReader(leafOptions);

export interface ParsedLeafOptions {
  readonly leaves: LeafOptions;
  readonly signal: AbortSignal | undefined;
}

/** @throws InvalidItemError */
export function leafOptionsOf(options: unknown): ParsedLeafOptions {
  const { bits, within, week = 0, signal } = readLeafOptions(options);
  const depths = { ...(bits === undefined ? {} : { bits }), ...(within === undefined ? {} : { within }) };
  return { leaves: { ...depths, week }, signal };
}

/** @throws InvalidItemError */
export const leafItemOptionsOf = optionsReader(z.strictObject({ week: week.default(0), signal }));

/** Ids of one question, and rows of one handover. */
export const MAX_PEER_ROWS = 1000;

const peerIds = z.array(z.string().refine(isId, 'is no id')).max(MAX_PEER_ROWS);

/** @throws InvalidItemError */
export function peerIdsOf(given: readonly string[]): readonly string[] {
  return checked(peerIds, given, 'ids');
}

/** @throws InvalidItemError */
export const repairOptionsOf = optionsReader(
  z.strictObject({
    direction: z.enum(['pull', 'push', 'both']).default('both'),
    dryRun: z.boolean().default(false),
    rate: z
      .custom<number>((value) => typeof value === 'number' && value > 0, 'must be above 0 rows a second')
      .default(Number.POSITIVE_INFINITY),
    recheckMs: z.int().min(0).max(MAX_RECHECK_MS).default(0),
    onProgress: z
      .custom<(progress: RepairCounts) => void>((value) => typeof value === 'function', 'must be a function')
      .optional(),
    signal,
  }),
);

/** @throws InvalidItemError */
export function leavesOf(given: readonly number[]): readonly number[] {
  // Without duplicates: a leaf that is given twice would list its items twice.
  return [...new Set(checked(leaves, given, 'leaves'))];
}

/** @throws InvalidItemError when a method is missing */
export function peerOf(peer: MerklePeer): MerklePeer {
  for (const name of ['root', 'leaves', 'leafItems'] as const) {
    if (typeof peer?.[name] !== 'function') throw new InvalidItemError('peer', `has no method ${name}()`);
  }
  return peer;
}
