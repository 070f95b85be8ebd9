import { stampToMs, type Stamp } from '../clock.ts';
import { CorruptItemError } from '../errors.ts';
import { DIGEST_CHARS, type Digest } from '../merkle/digest.ts';
import type { Item, JsonValue } from '../types.ts';

/**
 * The image of a row as L2 keeps it: one text value, so that MGET, JSON and scripts take it as it is.
 *
 *   0      format, '1'
 *   1      kind: j JSON, b binary (base64), d deleted, x "not kept in L2" (fence of a durable-only write)
 *   2-17   content stamp, 16 digits      18-33  state stamp, 16 digits     (set-newer.lua compares these 32)
 *   34     origin: r a row of L3, c written to L2 only
 *   35-66  digest of the row, hex        67-109 SHA-256 of the content, base64url (43; blanks when there is none)
 *   110-111 length of the state in UTF-16 units, then the state, then the content
 */
export interface StoredItem {
  readonly id: string;
  readonly kind: 'j' | 'b' | 'd' | 'x';
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly origin: 'r' | 'c';
  readonly digest: Digest;
  /** base64url SHA-256; '' when there is no content. */
  readonly contentHash: string;
  readonly state: string;
  /** JSON text or base64; '' when there is no content. */
  readonly body: string;
}

const HASH_CHARS = 43;
const NO_HASH = ' '.repeat(HASH_CHARS);
const HEAD = 112;

/** Characters that hold kind, both stamps and origin. */
export const STORED_HEAD_CHARS = 35;
/** What can be told of a copy without its content. */
export type StoredHead = Pick<StoredItem, 'kind' | 'contentVersion' | 'stateVersion' | 'origin'>;

export function encodeStored(item: StoredItem): string {
  return `1${item.kind}${stampText(item.contentVersion)}${stampText(item.stateVersion)}${item.origin}${item.digest}${item.contentHash === '' ? NO_HASH : item.contentHash}${String(item.state.length).padStart(2, '0')}${
    item.state
  }${item.body}`;
}

function stampText(stamp: Stamp): string {
  return String(stamp).padStart(16, '0');
}

/** The head of a stored text; undefined when it is none that `encodeStored` wrote. */
export function decodeStoredHead(text: string): StoredHead | undefined {
  const kind = text[1];
  const origin = text[34];
  const contentVersion = Number(text.slice(2, 18));
  const stateVersion = Number(text.slice(18, 34));
  if (
    text[0] !== '1' ||
    (kind !== 'j' && kind !== 'b' && kind !== 'd' && kind !== 'x') ||
    (origin !== 'r' && origin !== 'c') ||
    !Number.isSafeInteger(contentVersion) ||
    !Number.isSafeInteger(stateVersion)
  ) {
    return undefined;
  }
  return { kind, contentVersion, stateVersion, origin };
}

/** @throws CorruptItemError when the text is none that `encodeStored` wrote. */
export function decodeStored(id: string, text: string): StoredItem {
  const head = decodeStoredHead(text);
  const stateLength = Number(text.slice(110, HEAD));
  if (head === undefined || !(stateLength >= 1 && text.length >= HEAD + stateLength)) {
    throw new CorruptItemError(
      `The Redis copy of ${JSON.stringify(id)} is not in Tierline's format. Delete its key.`,
    );
  }
  return {
    id,
    kind: head.kind,
    contentVersion: head.contentVersion,
    stateVersion: head.stateVersion,
    origin: head.origin,
    digest: text.slice(35, 35 + DIGEST_CHARS),
    contentHash: text.slice(67, 67 + HASH_CHARS).trimEnd(),
    state: text.slice(HEAD, HEAD + stateLength),
    body: text.slice(HEAD + stateLength),
  };
}

export function versionOf(item: { readonly contentVersion: Stamp; readonly stateVersion: Stamp }): Stamp {
  return Math.max(item.contentVersion, item.stateVersion);
}

/** What callers see of a live item. @throws CorruptItemError when its body is not what it claims to be. */
export function toItem(stored: StoredItem): Item {
  const version = versionOf(stored);
  return Object.freeze({
    id: stored.id,
    content: stored.kind === 'b' ? new Uint8Array(Buffer.from(stored.body, 'base64')) : parseBody(stored),
    contentType: stored.kind === 'b' ? 'binary' : 'json',
    contentHash: Buffer.from(stored.contentHash, 'base64url').toString('hex'),
    state: stored.state,
    version,
    updatedAt: stampToMs(version),
  });
}

function parseBody(stored: StoredItem): JsonValue {
  try {
    return deepFreeze(JSON.parse(stored.body) as JsonValue);
  } catch (cause) {
    throw new CorruptItemError(
      `The content of ${JSON.stringify(stored.id)} is not JSON. Submit the item again.`,
      { cause },
    );
  }
}

/** `Object.values` would build an array an object: a third of the time of reading a document went there. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (typeof value[i] === 'object') deepFreeze(value[i]);
  } else {
    for (const key in value) if (typeof value[key] === 'object') deepFreeze(value[key]);
  }
  return Object.freeze(value);
}
