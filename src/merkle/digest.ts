import { createHmac, hash } from 'node:crypto';
import { type Stamp, UNWRITTEN } from '../clock.ts';
import { firstByteOf, hashTagOf } from '../partition.ts';

/**
 * Digests of the two registers of a row (design: "Merkle tables"): the first 16 bytes of SHA-256, or of HMAC-SHA-256
 * with the deployment's key, over a tag, the id, the stamp and the register's value. A row's digest is the XOR of both,
 * so SQL merges registers without hashing.
 *
 * A digest is 32 hex digits: `crypto.hash` returns strings in 0.7 µs and Buffers in 2.1 µs, and a string goes as it is into
 * L2 values and into the wire encoding of Postgres.
 */
export type Digest = string;

const DIGEST_BYTES = 16;
export const DIGEST_CHARS = 2 * DIGEST_BYTES;
export const ZERO_DIGEST: Digest = '0'.repeat(DIGEST_CHARS);
const CONTENT_TAG = 1;
const STATE_TAG = 2;
/**
 * Number of the way in which digests are made. Raise it when the same row gets another digest: stores of two schemes cannot be
 * compared.
 */
export const SCHEME = 1;
const CHECKED_TEXT = 'tierline: check of the key';

/** What the digest of a row is made of. */
export interface DigestedRow {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly contentHash: string | null;
  readonly stateVersion: Stamp;
  readonly state: string;
}

export class Digester {
  readonly #key: string | undefined;
  /** One buffer for all messages. An id has at most 255 bytes, so every message fits. */
  readonly #scratch = Buffer.allocUnsafe(512);

  constructor(key?: string) {
    this.#key = key;
  }

  /** @param contentHash what `hashContent` gave; undefined for a deleted item. */
  content(id: string, stamp: Stamp, contentHash: string | undefined): Digest {
    const end = this.#head(CONTENT_TAG, id, stamp);
    this.#scratch[end] = contentHash === undefined ? 1 : 0;
    const hashed = contentHash === undefined ? 0 : this.#scratch.write(contentHash, end + 1, 'hex');
    return this.#sum(end + 1 + hashed);
  }

  state(id: string, stamp: Stamp, state: string): Digest {
    const end = this.#head(STATE_TAG, id, stamp);
    const length = this.#scratch.write(state, end + 4);
    this.#scratch.writeUInt32BE(length, end);
    return this.#sum(end + 4 + length);
  }

  /** @param row `contentHash` null when it is deleted, or has no content yet */
  row({ id, contentVersion, contentHash, stateVersion, state }: DigestedRow): Digest {
    const content =
      contentVersion === UNWRITTEN ? ZERO_DIGEST : this.content(id, contentVersion, contentHash ?? undefined);
    return stateVersion === UNWRITTEN ? content : xorDigests(content, this.state(id, stateVersion, state));
  }

  /**
   * A value that is equal for equal keys. It is never the digest of a row: those are made from a text that begins with a tag.
   */
  check(): Digest {
    return this.#sum(this.#scratch.write(CHECKED_TEXT));
  }

  #head(tag: number, id: string, stamp: Stamp): number {
    const s = this.#scratch;
    s[0] = tag;
    const length = s.write(id, 5);
    s.writeUInt32BE(length, 1);
    // A stamp is below 2^53. Two 32-bit halves avoid a BigInt for each digest.
    s.writeUInt32BE(Math.floor(stamp / 0x1_0000_0000), 5 + length);
    s.writeUInt32BE(stamp % 0x1_0000_0000, 9 + length);
    return 13 + length;
  }

  #sum(length: number): Digest {
    const message = this.#scratch.subarray(0, length);
    const full =
      this.#key === undefined
        ? hash('sha256', message, 'hex')
        : createHmac('sha256', this.#key).update(message).digest('hex');
    return full.slice(0, DIGEST_CHARS);
  }
}

export function xorDigests(a: Digest, b: Digest): Digest {
  if (b === ZERO_DIGEST) return a;
  return (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).padStart(DIGEST_CHARS, '0');
}

/** SHA-256, hex, of the bytes as stored: the UTF-8 of the JSON text, or the binary itself. */
export function hashContent(body: string | Uint8Array): string {
  return hash('sha256', body, 'hex');
}

/** Leaves of the hash tree, by the top 16 bits of `keyHash`. */
export const LEAVES = 65_536;
const BITS_BELOW_LEAF = 15;

/**
 * Place of an id in the hash tree, 31 bits: those of SHA-256(id), of which the top 8 are those of SHA-256 of the id's hash tag
 * when it has one. So all ids of a tag, and all ids of a partition, are in one subtree.
 */
export function keyHash(id: string): number {
  const own = Number.parseInt(hash('sha256', id, 'hex').slice(0, 8), 16) >>> 1;
  const tag = hashTagOf(id);
  return tag === id ? own : (firstByteOf(hash('sha256', tag, 'hex')) << 23) | (own & 0x7f_ffff);
}

export function leafOf(id: string): number {
  return keyHash(id) >>> BITS_BELOW_LEAF;
}
