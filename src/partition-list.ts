import { z } from 'zod';
import { MAX_PARTITIONS } from './partition.ts';

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
