import { crc32 } from 'node:zlib';
import { TierlineError } from '../errors.ts';
import { CuckooFilter, isTableLength } from './cuckoo.ts';
import { MembershipFilter } from './membership.ts';

/**
 * The stored form, all numbers little-endian:
 *
 *     0  4  'TLMF'
 *     4  2  FORMAT_VERSION: layout and hash function; raise it when either changes
 *     6  2  tables
 *     8  4  dead ids
 *    12  4  CRC-32 of every other byte
 *    16  8  per table, oldest first: slots (4), used slots (4)
 *     …     the tables, 2 bytes a slot
 */
const FORMAT_VERSION = 1;
const MAGIC = Buffer.from('TLMF', 'latin1');
const HEADER_BYTES = 16;
const CHECKSUM_OFFSET = 12;
const TABLE_HEADER_BYTES = 8;
const MAX_UINT32 = 2 ** 32 - 1;

const HOST_IS_BIG_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0;

/**
 * `decodeFilter` was given something that is not one whole filter of this version: cut short, changed, or written by
 * another version. Nothing in it may be used: drop the snapshot and build the filter from the ids.
 */
export class FilterCorruptError extends TierlineError {
  readonly code = 'ERR_FILTER_CORRUPT';

  constructor(problem: string) {
    super(`Stored membership filter is unusable: ${problem}. Drop it and rebuild from the live ids.`);
  }
}

/** The filter as bytes for `decodeFilter`, in any process on any machine. Copies; 1 M ids are 2 MiB. */
export function encodeFilter(filter: MembershipFilter): Buffer {
  const { links } = filter;
  const tablesOffset = HEADER_BYTES + links.length * TABLE_HEADER_BYTES;
  const buffer = Buffer.alloc(tablesOffset + filter.byteLength);
  MAGIC.copy(buffer);
  buffer.writeUInt16LE(FORMAT_VERSION, 4);
  buffer.writeUInt16LE(links.length, 6);
  buffer.writeUInt32LE(Math.min(filter.dead, MAX_UINT32), 8);
  let headerOffset = HEADER_BYTES;
  let offset = tablesOffset;
  for (const link of links) {
    buffer.writeUInt32LE(link.capacity, headerOffset);
    buffer.writeUInt32LE(link.count, headerOffset + 4);
    headerOffset += TABLE_HEADER_BYTES;
    const bytes = buffer.subarray(offset, offset + link.byteLength);
    bytes.set(bytesOf(link.table));
    if (HOST_IS_BIG_ENDIAN) bytes.swap16();
    offset += link.byteLength;
  }
  buffer.writeUInt32LE(checksum(buffer), CHECKSUM_OFFSET);
  return buffer;
}

/**
 * The filter that `encodeFilter` wrote. The bytes are copied, so the buffer may be reused.
 * @throws FilterCorruptError when anything about them is not as it was written.
 */
export function decodeFilter(bytes: Uint8Array): MembershipFilter {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < HEADER_BYTES)
    throw new FilterCorruptError(`${buffer.length} bytes are less than a header`);
  if (!buffer.subarray(0, MAGIC.length).equals(MAGIC))
    throw new FilterCorruptError('it does not begin with TLMF');
  const version = buffer.readUInt16LE(4);
  if (version !== FORMAT_VERSION) throw new FilterCorruptError(`format ${version}, not ${FORMAT_VERSION}`);
  if (buffer.readUInt32LE(CHECKSUM_OFFSET) !== checksum(buffer))
    throw new FilterCorruptError('checksum differs');

  const tables = buffer.readUInt16LE(6);
  let offset = HEADER_BYTES + tables * TABLE_HEADER_BYTES;
  if (tables === 0 || offset > buffer.length) throw new FilterCorruptError(`${tables} tables do not fit`);
  const links: CuckooFilter[] = [];
  for (let header = HEADER_BYTES; links.length < tables; header += TABLE_HEADER_BYTES) {
    const slots = buffer.readUInt32LE(header);
    const used = buffer.readUInt32LE(header + 4);
    const end = offset + slots * Uint16Array.BYTES_PER_ELEMENT;
    // Before anything is allocated: a length that is not backed by bytes must not ask for gigabytes.
    if (!isTableLength(slots) || used > slots || end > buffer.length) {
      throw new FilterCorruptError(`a table of ${slots} slots, ${used} used, does not fit`);
    }
    const table = new Uint16Array(slots);
    const target = bytesOf(table);
    target.set(buffer.subarray(offset, end));
    if (HOST_IS_BIG_ENDIAN) Buffer.from(target.buffer).swap16();
    links.push(new CuckooFilter(table, used));
    offset = end;
  }
  if (offset !== buffer.length) throw new FilterCorruptError(`${buffer.length - offset} bytes too many`);
  return new MembershipFilter(links, buffer.readUInt32LE(8));
}

function checksum(buffer: Buffer): number {
  return crc32(buffer.subarray(CHECKSUM_OFFSET + 4), crc32(buffer.subarray(0, CHECKSUM_OFFSET)));
}

function bytesOf(table: Uint16Array): Uint8Array {
  return new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
}
