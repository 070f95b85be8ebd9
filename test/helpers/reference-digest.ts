import { createHash, createHmac } from 'node:crypto';

/** The digests as the design's words say, written apart from `src/merkle/digest.ts` so that both cannot share a fault. */
export const ZERO = Buffer.alloc(16);

export function sha256(bytes: string | Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function i64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

function sum(parts: readonly Buffer[], key: string | undefined): Buffer {
  const message = Buffer.concat(parts);
  const full = key === undefined ? sha256(message) : createHmac('sha256', key).update(message).digest();
  return full.subarray(0, 16);
}

/** @param hash SHA-256 of the content; undefined for a deleted item. */
export function contentDigest(id: string, stamp: number, hash: Buffer | undefined, key?: string): Buffer {
  const name = Buffer.from(id);
  const value = hash === undefined ? Buffer.of(1) : Buffer.concat([Buffer.of(0), hash]);
  return sum([Buffer.of(1), u32(name.length), name, i64(stamp), value], key);
}

export function stateDigest(id: string, stamp: number, state: string, key?: string): Buffer {
  const name = Buffer.from(id);
  const value = Buffer.from(state);
  return sum([Buffer.of(2), u32(name.length), name, i64(stamp), u32(value.length), value], key);
}

export function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] as number)));
}

function bitsOf(text: string): string {
  return [...sha256(text)].map((byte) => byte.toString(2).padStart(8, '0')).join('');
}

/** Place in the hash tree: 8 bits of the tag's hash, then bits 8 to 30 of the id's. */
export function placeOf(id: string): number {
  const tag = /^[^{]*\{([^}]+)\}/u.exec(id)?.[1] ?? id;
  return Number.parseInt(bitsOf(tag).slice(0, 8) + bitsOf(id).slice(8, 31), 2);
}
