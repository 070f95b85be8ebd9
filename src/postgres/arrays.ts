/**
 * Postgres arrays in the binary wire format (`array_recv`), which node-postgres sends as it is when a parameter is a
 * Buffer. Its own encoding, an escaped text literal, costs the client and the server several times as much: see
 * `docs/decisions/0002-binary-arrays.md` for the figures.
 *
 * Layout: dimensions (1, or 0 when empty), has-nulls flag, element type, length, lower bound; then for each element its
 * byte length (-1 for NULL) and its bytes.
 */
const OID = { bool: 16, bytea: 17, int8: 20, int4: 23, text: 25, json: 114 } as const;
const HEAD_BYTES = 20;
const EMPTY_HEAD_BYTES = 12;

function head(buffer: Buffer, oid: number, length: number): void {
  buffer.writeInt32BE(1, 0);
  // 1: there may be NULLs. Postgres looks at each element anyway.
  buffer.writeInt32BE(1, 4);
  buffer.writeInt32BE(oid, 8);
  buffer.writeInt32BE(length, 12);
  buffer.writeInt32BE(1, 16);
}

function empty(oid: number): Buffer {
  const buffer = Buffer.alloc(EMPTY_HEAD_BYTES);
  buffer.writeInt32BE(oid, 8);
  return buffer;
}

function fixedWidth(
  oid: number,
  width: number,
  length: number,
  write: (buffer: Buffer, index: number, at: number) => void,
): Buffer {
  if (length === 0) return empty(oid);
  const buffer = Buffer.allocUnsafe(HEAD_BYTES + length * (4 + width));
  head(buffer, oid, length);
  for (let i = 0, at = HEAD_BYTES; i < length; i++, at += 4 + width) {
    buffer.writeInt32BE(width, at);
    write(buffer, i, at + 4);
  }
  return buffer;
}

export function int4Array(values: readonly number[]): Buffer {
  return fixedWidth(OID.int4, 4, values.length, (buffer, i, at) =>
    buffer.writeInt32BE(values[i] as number, at),
  );
}

/** @param values safe integers, 0 or more. Writing two 32-bit halves avoids a BigInt for each. */
export function int8Array(values: readonly number[]): Buffer {
  return fixedWidth(OID.int8, 8, values.length, (buffer, i, at) => {
    const value = values[i] as number;
    buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at);
    buffer.writeUInt32BE(value % 0x1_0000_0000, at + 4);
  });
}

/** The first or the last eight bytes of each digest (32 hex digits), as a signed 64-bit integer. */
export function digestHalfArray(digests: readonly string[], half: 'first' | 'last'): Buffer {
  const from = half === 'first' ? 0 : 16;
  return fixedWidth(OID.int8, 8, digests.length, (buffer, i, at) => {
    buffer.write((digests[i] as string).slice(from, from + 16), at, 8, 'hex');
  });
}

export function boolArray(values: readonly boolean[]): Buffer {
  return fixedWidth(OID.bool, 1, values.length, (buffer, i, at) => {
    buffer[at] = values[i] ? 1 : 0;
  });
}

export function textArray(values: readonly (string | null)[], type: 'text' | 'json' = 'text'): Buffer {
  return variableWidth(OID[type], values, 'utf8');
}

/** Binary values, given as base64 or hex text. */
export function byteaArray(values: readonly (string | null)[], encoding: 'base64' | 'hex'): Buffer {
  return variableWidth(OID.bytea, values, encoding);
}

function variableWidth(oid: number, values: readonly (string | null)[], encoding: BufferEncoding): Buffer {
  if (values.length === 0) return empty(oid);
  let size = HEAD_BYTES + values.length * 4;
  for (const value of values) size += value === null ? 0 : Buffer.byteLength(value, encoding);
  const buffer = Buffer.allocUnsafe(size);
  head(buffer, oid, values.length);
  let at = HEAD_BYTES;
  for (const value of values) {
    const bytes = value === null ? -1 : buffer.write(value, at + 4, encoding);
    buffer.writeInt32BE(bytes, at);
    at += 4 + Math.max(bytes, 0);
  }
  // The computed size of padded base64 may be too large.
  return at === size ? buffer : buffer.subarray(0, at);
}
