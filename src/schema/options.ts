import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import { checked } from './checked.ts';
import { stateSchema } from './item.ts';

const MAX_PAGE_ITEMS = 1000;

const signal = z.instanceof(AbortSignal, { error: 'must be an AbortSignal' }).optional();
const after = z.string('must be a cursor').optional();

/**
 * Makes the reader of one kind of options: each option is read once, and a name that the call does not know is refused.
 * Calls without options, most of them, cost nothing here; others about half a microsecond.
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
