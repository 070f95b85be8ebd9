import type { Stamp } from '../clock.ts';
import { CorruptItemError } from '../errors.ts';
import { DIGEST_CHARS, type Digest } from '../merkle/digest.ts';
import { DEFAULT_STATE } from './item.ts';
import { TIERS } from './job.ts';
import { Letters } from './letters.ts';
import type { Tiers } from '../types/write.ts';

/**
 * A row as L2 stores it and as reads of Postgres build it. It is one text, so MGET, JSON and Lua scripts handle it as it is, and
 * a part is only parsed when it is needed.
 *
 *   0      format, '1'
 *   1      kind, a letter of `KINDS`
 *   2-17   content stamp, 16 digits      18-33  state stamp, 16 digits     (set-newer.lua compares these 32)
 *   34     tiers, a letter of `TIERS`
 *   35-66  digest of the row, hex        67-130 SHA-256 of the content, hex (blanks when there is none)
 *   131-132 characters of the state, then the state, then the content
 */
export interface StoredItem {
  readonly id: string;
  /** `binary`: the body is base64. `fence`: L2 keeps the stamps of a durable-only write and not its content. */
  readonly kind: 'json' | 'binary' | 'deleted' | 'fence';
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  /** Where its content was written to. `durable`: no copy of it goes into L2. `cache`: it has no row in L3. */
  readonly tiers: Tiers;
  readonly digest: Digest;
  /** Hex SHA-256; '' when there is no content. */
  readonly contentHash: string;
  readonly state: string;
  /** JSON text or base64; '' when there is no content. */
  readonly body: string;
}

export const KINDS = new Letters<StoredItem['kind']>({ json: 'j', binary: 'b', deleted: 'd', fence: 'x' });

const HASH_AT = 67;
const HASH_CHARS = 64;
const NO_HASH = ' '.repeat(HASH_CHARS);
const STATE_LENGTH_AT = HASH_AT + HASH_CHARS;
const HEAD = STATE_LENGTH_AT + 2;

/** The stamp of a state that was never set: most states. */
const NO_STAMP = '0'.repeat(16);
/** Nearly all items are in the default state. They share this text. */
const DEFAULT_TEXT = `07${DEFAULT_STATE}`;

/** Characters that hold kind, both stamps and tiers. */
export const STORED_HEAD_CHARS = 35;
/** What the head of a copy tells, without its content. */
export type StoredHead = Pick<StoredItem, 'kind' | 'contentVersion' | 'stateVersion' | 'tiers'>;

export function encodeStored(item: StoredItem): string {
  if (item instanceof StoredText) return item.text;
  return `1${KINDS.of[item.kind]}${stampText(item.contentVersion)}${stampText(item.stateVersion)}${TIERS.of[item.tiers]}${item.digest}${item.contentHash === '' ? NO_HASH : item.contentHash}${String(characters(item.state)).padStart(2, '0')}${
    item.state
  }${item.body}`;
}

function stampText(stamp: Stamp): string {
  return String(stamp).padStart(16, '0');
}

/** Counts characters as Postgres does: a pair of surrogates is one. */
function characters(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if (isHighSurrogate(text.charCodeAt(i))) count--;
  return count;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

/** The head of a stored text; undefined when it is none that `encodeStored` wrote. */
export function decodeStoredHead(text: string): StoredHead | undefined {
  const kind = KINDS.wordAt(text, 1);
  const tiers = TIERS.wordAt(text, 34);
  const contentVersion = stampAt(text, 2);
  const stateVersion = stampAt(text, 18);
  if (
    text[0] !== '1' ||
    kind === undefined ||
    tiers === undefined ||
    !Number.isSafeInteger(contentVersion) ||
    !Number.isSafeInteger(stateVersion)
  ) {
    return undefined;
  }
  return { kind, contentVersion, stateVersion, tiers };
}

/** Sixteen digits as a number; NaN when one of them is no digit. It takes a third of the time of `Number(text.slice())`. */
function stampAt(text: string, at: number): Stamp {
  if (text.startsWith(NO_STAMP, at)) return 0;
  return eightDigits(text, at) * 100_000_000 + eightDigits(text, at + 8);
}

/** Eight digits at a time, because V8 computes with small integers faster. */
function eightDigits(text: string, at: number): number {
  let number = 0;
  for (let i = at; i < at + 8; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    number = number * 10 + digit;
  }
  return number;
}

/** A stored text whose head has been read. The rest is cut out when it is read. */
class StoredText implements StoredItem {
  readonly id: string;
  readonly text: string;
  readonly kind: StoredItem['kind'];
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly tiers: Tiers;
  readonly state: string;

  constructor(id: string, text: string, head: StoredHead, state: string) {
    this.id = id;
    this.text = text;
    this.kind = head.kind;
    this.contentVersion = head.contentVersion;
    this.stateVersion = head.stateVersion;
    this.tiers = head.tiers;
    this.state = state;
  }

  get digest(): Digest {
    return this.text.slice(STORED_HEAD_CHARS, STORED_HEAD_CHARS + DIGEST_CHARS);
  }

  get contentHash(): string {
    return this.text.charCodeAt(HASH_AT) === 32 ? '' : this.text.slice(HASH_AT, STATE_LENGTH_AT);
  }

  get body(): string {
    return this.text.slice(HEAD + this.state.length);
  }
}

/** @throws CorruptItemError when the text is none that `encodeStored` wrote, as far as can be seen without parsing its content */
export function decodeStored(id: string, text: string): StoredItem {
  const head = decodeStoredHead(text);
  const state = head === undefined ? undefined : stateOf(text);
  if (head === undefined || state === undefined || !isWhole(head.kind, text, HEAD + state.length)) {
    throw new CorruptItemError(
      `What is stored of ${JSON.stringify(id)} is not in Tierline's format. Delete its key in Redis, or mend its row.`,
    );
  }
  return new StoredText(id, text, head, state);
}

/** Copies a slice. V8 keeps the whole text in memory for a slice of 13 characters or more. */
export function flat(slice: string): string {
  return Buffer.from(slice).toString();
}

function stateOf(text: string): string | undefined {
  if (text.startsWith(DEFAULT_TEXT, STATE_LENGTH_AT)) return DEFAULT_STATE;
  const length = Number(text.slice(STATE_LENGTH_AT, HEAD));
  let end = HEAD + length;
  for (let i = HEAD; i < end; i++) if (isHighSurrogate(text.charCodeAt(i))) end++;
  return length >= 1 && text.length >= end ? flat(text.slice(HEAD, end)) : undefined;
}

const CLOSED_BY: Readonly<Record<string, string>> = { '{': '}', '[': ']', '"': '"' };

/** Whether content ends as it began. This finds content that was cut off, except for bare numbers and words. */
function isWhole(kind: StoredItem['kind'], text: string, from: number): boolean {
  if (kind === 'binary') return (text.length - from) % 4 === 0;
  if (kind !== 'json') return true;
  const close = CLOSED_BY[text.charAt(from)];
  let last = text.length - 1;
  // Other programs may end JSON with a line break.
  while (last > from && text.charCodeAt(last) <= 32) last--;
  return close === undefined ? last >= from : last > from && text[last] === close;
}

/** Length of the stored text. It is close to it for an item that was not read from one. */
export function storedChars(item: StoredItem): number {
  return item instanceof StoredText ? item.text.length : HEAD + item.state.length + item.body.length;
}

export function versionOf(item: { readonly contentVersion: Stamp; readonly stateVersion: Stamp }): Stamp {
  return Math.max(item.contentVersion, item.stateVersion);
}
