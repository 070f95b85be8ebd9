import { z } from 'zod';
import { InvalidItemError, messageOf } from '../errors.ts';
import { nearMiss } from '../nearest.ts';

/**
 * Reads each part of `value` once and returns what was read.
 * @throws InvalidItemError naming the field and why, also when reading it throws (a getter, a proxy).
 */
export function checked<S extends z.ZodType>(schema: S, value: unknown, fallbackField: string): z.output<S> {
  const parsed = read(schema, value, fallbackField);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue === undefined || issue.path.length === 0 ? fallbackField : issue.path.join('.');
  throw new InvalidItemError(field, reasonOf(issue, schema));
}

function read<S extends z.ZodType>(
  schema: S,
  value: unknown,
  field: string,
): z.ZodSafeParseResult<z.output<S>> {
  try {
    return schema.safeParse(value);
  } catch (cause) {
    throw unreadable(field, cause);
  }
}

/** Of a value of the caller's that threw while it was read. */
export function unreadable(field: string, cause: unknown): InvalidItemError {
  return new InvalidItemError(field, `cannot be read: ${messageOf(cause)}`, { cause });
}

function reasonOf(issue: z.core.$ZodIssue | undefined, schema: z.ZodType): string {
  if (issue?.code !== 'unrecognized_keys' || issue.path.length > 0 || !(schema instanceof z.ZodObject)) {
    return issue?.message ?? 'cannot be used';
  }
  const known = Object.keys(schema.shape);
  const name = issue.keys[0] ?? '';
  const meant = nearMiss(name, known);
  return meant === undefined
    ? `${name} is not known here, only ${known.join(', ')}`
    : `${name} is not known here; did you mean ${meant}?`;
}
