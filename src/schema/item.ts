import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import type { JsonValue, NewItem, SubmitOptions } from '../types.ts';
import { serializeJson } from './json.ts';

export const MAX_ID_BYTES = 255;
export const MAX_STATE_BYTES = 64;
/** Of an item that nobody gave one. */
export const DEFAULT_STATE = 'default';

/** Text that survives Redis, JSON and Postgres byte for byte, of 1 to `maximum` UTF-8 bytes. */
function boundedText(maximum: number) {
  return z.string('must be a string').superRefine((value, context) => {
    const problem = textProblem(value, maximum);
    if (problem !== undefined) context.addIssue(problem);
  });
}

function textProblem(value: string, maximum: number): string | undefined {
  if (value.length === 0) return 'must not be empty';
  if (value.includes('\0')) return 'must not contain NUL (U+0000), which Postgres cannot store in text';
  if (!value.isWellFormed()) return 'contains a lone surrogate, which has no UTF-8 form';
  // A UTF-16 unit is at most 3 bytes of UTF-8: short strings need no count.
  if (value.length * 3 <= maximum) return undefined;
  const bytes = Buffer.byteLength(value);
  return bytes > maximum ? `has ${bytes} bytes of UTF-8; at most ${maximum} are allowed` : undefined;
}

export const idSchema = boundedText(MAX_ID_BYTES);
export const stateSchema = boundedText(MAX_STATE_BYTES);
const TRACE_PARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/;

const newItemSchema = z.strictObject({
  id: idSchema,
  content: z.unknown(),
  state: stateSchema.optional(),
  traceParent: z.string().regex(TRACE_PARENT, 'must be a W3C traceparent').optional(),
});

const submitOptionsSchema = z.strictObject({
  tiers: z.enum(['all', 'cache', 'durable']).default('all'),
  ttlMs: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  state: stateSchema.optional(),
  atomic: z.boolean().default(false),
  signal: z.instanceof(AbortSignal).optional(),
});

export type ParsedSubmitOptions = z.output<typeof submitOptionsSchema>;

const NO_OPTIONS: ParsedSubmitOptions = submitOptionsSchema.parse({});

/** An item as it will be stored: content serialised once. */
export interface SerializedItem {
  readonly id: string;
  readonly kind: 'json' | 'binary';
  /** JSON text, or base64 of the binary. */
  readonly body: string;
  /** Bytes of the content as stored. */
  readonly bytes: number;
  /** What is hashed: the JSON text or the binary. */
  readonly raw: string | Uint8Array;
  readonly state: string | undefined;
  readonly traceParent: string | undefined;
}

/** @throws InvalidItemError naming the field and why. */
export function parseNewItem(item: NewItem, maxContentBytes: number): SerializedItem {
  // Most items are an id and content: zod, 1 µs an item, words the problem when they are not that.
  const { id, content, state, traceParent } = isBare(item) ? item : checked(newItemSchema, item, 'item');
  if (content instanceof Uint8Array) {
    refuseLarge(content.byteLength, maxContentBytes);
    // A view of the same bytes, no copy; base64 because jobs and L2 values are text.
    const raw = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
    return { id, kind: 'binary', body: raw.toString('base64'), bytes: raw.length, raw, state, traceParent };
  }
  const body = serializeJson(content as JsonValue, maxContentBytes);
  const bytes = Buffer.byteLength(body);
  refuseLarge(bytes, maxContentBytes);
  return { id, kind: 'json', body, bytes, raw: body, state, traceParent };
}

function isBare(item: NewItem): boolean {
  if (typeof item !== 'object' || item === null) return false;
  for (const key in item) if (key !== 'id' && key !== 'content') return false;
  // A getter of a class is in no list of keys.
  return 'content' in item && item.state === undefined && item.traceParent === undefined && isId(item.id);
}

function refuseLarge(bytes: number, maximum: number): void {
  if (bytes > maximum) {
    throw new InvalidItemError(
      'content',
      `has ${bytes} bytes; at most ${maximum} are allowed (maxContentBytes)`,
    );
  }
}

export function parseId(id: string): string {
  // Reads check thousands of ids a call: zod only words the problem.
  return isId(id) ? id : checked(idSchema, id, 'id');
}

export function isId(id: unknown): id is string {
  return typeof id === 'string' && textProblem(id, MAX_ID_BYTES) === undefined;
}

export function isState(state: string): boolean {
  return textProblem(state, MAX_STATE_BYTES) === undefined;
}

export function parseState(state: string): string {
  return checked(stateSchema, state, 'state');
}

/** A prefix of ids: as an id, but it may end anywhere. '' would mean everything and is refused. */
export function parsePrefix(prefix: string): string {
  return checked(idSchema, prefix, 'prefix');
}

export function parseSubmitOptions(
  options?: SubmitOptions & { atomic?: boolean; signal?: AbortSignal },
): ParsedSubmitOptions {
  if (options === undefined) return NO_OPTIONS;
  const parsed = checked(submitOptionsSchema, options, 'options');
  if (parsed.tiers === 'durable' && parsed.ttlMs !== undefined) {
    throw new InvalidItemError(
      'ttlMs',
      'bounds the L2 copy, which tiers: "durable" does not make; leave one out',
    );
  }
  return parsed;
}

/** @throws InvalidItemError naming the field and why. */
export function checked<S extends z.ZodType>(schema: S, value: unknown, fallbackField: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue === undefined || issue.path.length === 0 ? fallbackField : issue.path.join('.');
  throw new InvalidItemError(field, issue?.message ?? 'cannot be used');
}
