import { z } from 'zod';
import type { LeafOptions, MerklePeer } from '../types.ts';
import { LEAVES } from '../merkle/digest.ts';
import { InvalidItemError } from '../errors.ts';
import { checked } from './checked.ts';
import { optionsReader } from './options.ts';

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
  const { bits, within, signal } = readLeafOptions(options);
  const leaves = { ...(bits === undefined ? {} : { bits }), ...(within === undefined ? {} : { within }) };
  return { leaves, signal };
}

/** @throws InvalidItemError */
export function leavesOf(given: readonly number[]): readonly number[] {
  // Twice the same leaf would list its items twice.
  return [...new Set(checked(leaves, given, 'leaves'))];
}

/** @throws InvalidItemError for what cannot be asked */
export function peerOf(peer: MerklePeer): MerklePeer {
  for (const name of ['root', 'leaves', 'leafItems'] as const) {
    if (typeof peer?.[name] !== 'function') throw new InvalidItemError('peer', `has no method ${name}()`);
  }
  return peer;
}
