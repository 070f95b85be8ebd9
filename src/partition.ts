import { hash } from 'node:crypto';
import { z } from 'zod';

/** Most partitions of a deployment: the first 8 bits of a hash tell them apart. */
export const MAX_PARTITIONS = 256;

/**
 * The part of an id that chooses its partition: what stands between the first `{` and the next `}`, when that is not empty,
 * else the whole id. It is Redis Cluster's rule, so ids with the same tag stay together.
 */
export function hashTagOf(id: string): string {
  const open = id.indexOf('{');
  if (open === -1) return id;
  const close = id.indexOf('}', open + 1);
  return close > open + 1 ? id.slice(open + 1, close) : id;
}

/**
 * The partition of an id: the top bits of its place in the hash tree, so a partition is a subtree.
 * @param count partitions of the deployment: a power of two up to `MAX_PARTITIONS`
 */
export function partitionOf(id: string, count: number): number {
  // With one partition there is nothing to hash (0.7 µs).
  if (count === 1) return 0;
  return (firstByteOf(hash('sha256', hashTagOf(id), 'hex')) * count) >>> 8;
}

/** @param digest in hex */
export function firstByteOf(digest: string): number {
  return Number.parseInt(digest.slice(0, 2), 16);
}

/** Numbers and ranges of numbers, such as `0-3,7`. */
export const partitionList = z.union([
  z
    .array(
      z
        .int()
        .min(0)
        .max(MAX_PARTITIONS - 1),
    )
    .min(1),
  z
    .string()
    .regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, { error: 'must be numbers and ranges such as 0-3,7', abort: true })
    .transform((list, context) => {
      const numbers = list.split(',').flatMap((part) => {
        const [from = 0, to = from] = part.split('-').map(Number);
        return from <= to && to < MAX_PARTITIONS
          ? Array.from({ length: to - from + 1 }, (_, i) => from + i)
          : [-1];
      });
      if (numbers.includes(-1)) {
        context.addIssue(`must be ranges from a lower to a higher number below ${MAX_PARTITIONS}`);
        return z.NEVER;
      }
      return [...new Set(numbers)];
    }),
]);
