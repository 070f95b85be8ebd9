import { randomUUID } from 'node:crypto';
import { InvalidItemError, messageOf } from '../errors.ts';
import type { JsonValue } from '../types/call.ts';

/** Deeper nesting overflows the stack of some JSON reader on the way (Postgres's stops near 6,000 levels). */
const MAX_DEPTH = 512;

/**
 * The JSON text of a value that comes back from `JSON.parse` equal to what went in. `JSON.stringify` alone turns NaN into null,
 * drops undefined and calls toJSON. Such values are refused, because the caller would not notice the change. Each part is read
 * once and copied first: a getter or a proxy may give something else the second time.
 * @throws InvalidItemError with the path of the value that has no exact JSON form, or that throws when it is read.
 */
export function serializeJson(value: unknown, maxBytes: number): string {
  const seen: Seen = { negativeZero: false };
  const copy = copied(value, seen);
  try {
    return seen.negativeZero ? withNegativeZeros(copy) : JSON.stringify(copy);
  } catch (cause) {
    // V8 cannot build strings above 512 MiB.
    throw new InvalidItemError(
      'content',
      `is too large to serialise; at most ${maxBytes} bytes are allowed`,
      { cause },
    );
  }
}

function copied(value: unknown, seen: Seen): JsonValue {
  try {
    return exactCopy(value, 0, seen);
  } catch (error) {
    const { path, reason, cause } = inexact(error);
    throw new InvalidItemError(`content${path}`, reason, { cause });
  }
}

/** `JSON.parse` reads -0, but `JSON.stringify` writes 0. A marker stands for -0 until the text is made. */
function withNegativeZeros(value: JsonValue): string {
  const marker = `-0:${randomUUID()}`;
  const text = JSON.stringify(value, (_key, part: unknown) => (Object.is(part, -0) ? marker : part));
  return text.replaceAll(`"${marker}"`, '-0');
}

interface Seen {
  negativeZero: boolean;
}

/** Why a value has no exact JSON form. */
class Inexact extends Error {
  /** The path to the value. Each level of the recursion adds its own part. */
  path = '';
  readonly reason: string;

  constructor(reason: string, options?: { cause?: unknown }) {
    super(reason, options);
    this.reason = reason;
  }
}

function exactCopy(value: unknown, depth: number, seen: Seen): JsonValue {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new Inexact(`${value} has no JSON form`);
      if (value === 0 && Object.is(value, -0)) seen.negativeZero = true;
      return value;
    case 'object':
      if (value === null) return value;
      if (depth >= MAX_DEPTH) throw new Inexact(`is circular or nested deeper than ${MAX_DEPTH} levels`);
      return Array.isArray(value) ? copyOfArray(value, depth, seen) : copyOfObject(value, depth, seen);
    default:
      throw new Inexact(
        `${typeof value} has no JSON form${value === undefined ? '; leave the key out or use null' : ''}`,
      );
  }
}

function copyOfArray(value: readonly unknown[], depth: number, seen: Seen): JsonValue[] {
  const copy: JsonValue[] = [];
  const { length } = value;
  let at = 0;
  try {
    for (; at < length; at++) copy.push(exactCopy(value[at], depth + 1, seen));
  } catch (error) {
    throw within(`[${at}]`, error);
  }
  // JSON.stringify leaves out what is not an index: `Object.assign([], { a: 1 })`.
  if (Object.keys(value).length > length) throw new Inexact('is an array with named properties');
  refuseToJson(value);
  return copy;
}

/**
 * Copies with a spread, which keeps V8's fast shape. Checked documents then cost a tenth more; copied key by key they cost a
 * fifth more.
 */
function copyOfObject(value: object, depth: number, seen: Seen): JsonValue {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && !isForeignPlainObject(prototype)) {
    const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'object';
    throw new Inexact(`${name} is not a plain object; convert it first`);
  }
  const copy: Record<string, unknown> = { ...value };
  let at = '';
  try {
    for (at of Object.keys(copy)) {
      const part = copy[at];
      if (typeof part === 'string') continue;
      const exact = exactCopy(part, depth + 1, seen);
      if (exact !== part) replace(copy, at, exact);
    }
  } catch (error) {
    throw within(`.${at}`, error);
  }
  if (Object.getOwnPropertySymbols(copy).length > 0) throw new Inexact('has symbol keys');
  refuseToJson(value);
  return copy as { [key: string]: JsonValue };
}

/** An assignment to `__proto__` would set the prototype. */
function replace(copy: Record<string, unknown>, key: string, part: JsonValue): void {
  if (key === '__proto__') Object.defineProperty(copy, key, { value: part, enumerable: true });
  else copy[key] = part;
}

/**
 * JSON.stringify would store what `toJSON` returns. A subclass of Array may have one, or a property that is not listed as a
 * key.
 */
function refuseToJson(value: object): void {
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    throw new Inexact('has a toJSON method; call it first');
  }
}

/** A plain object of another realm (`vm`, a test runner): its prototype is the root of its own realm. */
function isForeignPlainObject(prototype: unknown): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf');
}

/** Describes what a getter or a proxy of the caller's threw. */
function inexact(error: unknown): Inexact {
  return error instanceof Inexact
    ? error
    : new Inexact(`cannot be read: ${messageOf(error)}`, { cause: error });
}

/** A circle is found only at 512 levels. Its path is shortened for people. */
function within(step: string, error: unknown): Inexact {
  const found = inexact(error);
  if (found.path.length < 120) found.path = step + found.path;
  else if (!found.path.endsWith('…')) found.path = `${found.path.slice(0, 119)}…`;
  return found;
}
