import { z } from 'zod';
import type { CallOptions, DiffOptions, LeafOptions } from '../types.ts';
import { LEAVES } from '../merkle/digest.ts';
import { checked } from './item.ts';

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

const leafOptions = z
  .strictObject({
    bits: depth.optional(),
    within: z.strictObject({ bits: innerDepth, nodes: leaves }).optional(),
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

const diffOptions = z.strictObject({
  limit: z.int().min(1).max(MAX_DIFFERENCES).default(1000),
  recheckMs: z.int().min(0).max(MAX_RECHECK_MS).default(1000),
  signal: z.instanceof(AbortSignal).optional(),
});

/** @throws InvalidItemError */
export function leafOptionsOf(options: LeafOptions & CallOptions): LeafOptions {
  const { bits, within } = checked(leafOptions, options, 'options');
  return { ...(bits === undefined ? {} : { bits }), ...(within === undefined ? {} : { within }) };
}

/** @throws InvalidItemError */
export function leavesOf(given: readonly number[]): readonly number[] {
  // Twice the same leaf would list its items twice.
  return [...new Set(checked(leaves, given, 'leaves'))];
}

/** @throws InvalidItemError */
export function diffOptionsOf(options: DiffOptions): z.output<typeof diffOptions> {
  return checked(diffOptions, options, 'options');
}
