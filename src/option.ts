import { z } from 'zod';
import { MAX_TIMER_MS } from './abortable.ts';
import { AddressError, parseRedisAddress } from './redis-address.ts';

const NO_URL = 'is not a URL; write special characters of user and password as %XX';

export const redisUrl = z.string().superRefine((value, context) => {
  try {
    parseRedisAddress(value);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    context.addIssue(error.message);
  }
});
export const postgresUrl = urlOf(/^postgres(ql)?:\/\//, 'must start with postgres:// or postgresql://');

function urlOf(scheme: RegExp, otherwise: string) {
  return z.string().regex(scheme, { error: otherwise, abort: true }).refine(isUrl, NO_URL);
}

/** Whether drivers can take it apart: they decode user, password and path. */
function isUrl(value: string): boolean {
  try {
    const { username, password, hostname, pathname } = new URL(value);
    return [username, password, hostname, pathname].every((part) => decodeURIComponent(part) !== undefined);
  } catch {
    return false;
  }
}

export const text = z.string().min(1);

/** A number or its text. Blank text is refused: `Number(' ')` is 0. */
export const numeric = (schema: z.ZodCoercedNumber) =>
  z.preprocess((value) => (typeof value === 'string' && value.trim() === '' ? Number.NaN : value), schema);
export const integer = (minimum: number, maximum = Number.MAX_SAFE_INTEGER) =>
  numeric(z.coerce.number().int().min(minimum).max(maximum));

/** For options that reach a timer. */
export const milliseconds = (minimum: number) => integer(minimum, MAX_TIMER_MS);

/** A bearer token as HTTP carries it: the header cannot hold a blank. */
export const bearerToken = (minimum: number) =>
  z
    .string()
    .regex(
      new RegExp(`^[\\x21-\\x7e]{${minimum},}$`),
      `must be ${minimum} or more printable characters without spaces; \`openssl rand -hex 32\` makes one`,
    );

export const flag = z.union([
  z.boolean(),
  z
    .enum(['0', '1', 'false', 'true'], 'must be 0 or 1')
    .transform((value) => value === '1' || value === 'true'),
]);

export interface OptionSpec<S extends z.ZodType> {
  readonly env: string;
  readonly schema: S;
  readonly unit: string;
  /** Default as a sentence part for the docs; the schema holds the value. */
  readonly doc: string;
}

export function option<S extends z.ZodType>(
  env: string,
  unit: string,
  doc: string,
  schema: S,
): OptionSpec<S> {
  return { env, unit, doc, schema };
}
