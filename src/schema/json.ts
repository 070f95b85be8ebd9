import { randomUUID } from 'node:crypto';
import { InvalidItemError } from '../errors.ts';
import type { JsonValue } from '../types.ts';

/** Deeper nesting overflows the stack of some JSON reader on the way (Postgres's stops near 6,000 levels). */
const MAX_DEPTH = 512;

/**
 * The JSON text of a value that comes back from `JSON.parse` equal to what went in.
 * `JSON.stringify` alone turns NaN into null, drops undefined and calls toJSON: silent changes, so they are refused.
 * @throws InvalidItemError with the path of the value that has no exact JSON form.
 */
export function serializeJson(value: JsonValue, maxBytes: number): string {
  const seen: Seen = { negativeZero: false };
  const problem = inexactPart(value, 0, seen);
  if (problem !== undefined) throw new InvalidItemError(`content${problem.path}`, problem.reason);
  try {
    return seen.negativeZero ? withNegativeZeros(value) : JSON.stringify(value);
  } catch (cause) {
    // V8 cannot build strings above 512 MiB.
    throw new InvalidItemError(
      'content',
      `is too large to serialise; at most ${maxBytes} bytes are allowed`,
      { cause },
    );
  }
}

/** JSON has -0 and `JSON.parse` reads it, but `JSON.stringify` writes 0: a marker takes its place in between. */
function withNegativeZeros(value: JsonValue): string {
  const marker = `-0:${randomUUID()}`;
  const text = JSON.stringify(value, (_key, part: unknown) => (Object.is(part, -0) ? marker : part));
  return text.replaceAll(`"${marker}"`, '-0');
}

interface Seen {
  negativeZero: boolean;
}

interface Problem {
  /** Built from the inside out, only once something is wrong. */
  path: string;
  readonly reason: string;
}

function inexactPart(value: unknown, depth: number, seen: Seen): Problem | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined;
    case 'number':
      if (!Number.isFinite(value)) return problem(`${value} has no JSON form`);
      if (value === 0 && Object.is(value, -0)) seen.negativeZero = true;
      return undefined;
    case 'object':
      if (value === null) return undefined;
      if (depth >= MAX_DEPTH) return problem(`is circular or nested deeper than ${MAX_DEPTH} levels`);
      return Array.isArray(value) ? inArray(value, depth, seen) : inObject(value, depth, seen);
    default:
      return problem(
        `${typeof value} has no JSON form${value === undefined ? '; leave the key out or use null' : ''}`,
      );
  }
}

function inArray(value: readonly unknown[], depth: number, seen: Seen): Problem | undefined {
  for (let i = 0; i < value.length; i++) {
    const found = inexactPart(value[i], depth + 1, seen);
    if (found !== undefined) return within(`[${i}]`, found);
  }
  // JSON.stringify leaves out what is not an index: `Object.assign([], { a: 1 })`.
  if (Object.keys(value).length > value.length) return problem('is an array with named properties');
  return hasToJson(value) ? problem('has a toJSON method; call it first') : undefined;
}

function inObject(value: object, depth: number, seen: Seen): Problem | undefined {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && !isForeignPlainObject(prototype)) {
    const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'object';
    return problem(`${name} is not a plain object; convert it first`);
  }
  for (const key of Object.keys(value)) {
    const found = inexactPart((value as Record<string, unknown>)[key], depth + 1, seen);
    if (found !== undefined) return within(`.${key}`, found);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) return problem('has symbol keys');
  return hasToJson(value) ? problem('has a toJSON method; call it first') : undefined;
}

/** JSON.stringify would store what it returns: a subclass of Array may bring one, or a property that keys do not list. */
function hasToJson(value: object): boolean {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function';
}

/** A plain object of another realm (`vm`, a test runner): its prototype is the root of its own realm. */
function isForeignPlainObject(prototype: unknown): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf');
}

function problem(reason: string): Problem {
  return { path: '', reason };
}

/** A circle is found 512 levels down: its path is cut to what a person reads. */
function within(step: string, found: Problem): Problem {
  if (found.path.length < 120) found.path = step + found.path;
  else if (!found.path.endsWith('…')) found.path = `${found.path.slice(0, 119)}…`;
  return found;
}
