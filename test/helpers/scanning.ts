import { openReader } from '../../src/read/open-reader.ts';
import { HeapPeak } from './heap-use.ts';

/** Scans all ids of a prefix in a process of its own, whose memory is the reader's alone. */
export interface ScanReport {
  readonly seen: number;
  readonly ordered: boolean;
  readonly counted: number;
  readonly heapBytes: number;
}

const SAMPLE_EVERY = 25_000;

const prefix = process.argv[2] as string;
const reader = await openReader({ logLevel: 'silent', filterMaxBytes: 0 });
const peak = new HeapPeak();
let seen = 0;
let ordered = true;
let last = '';
for await (const { id } of reader.scanPrefix(prefix)) {
  if (id <= last) ordered = false;
  last = id;
  if (++seen % SAMPLE_EVERY === 0) peak.sample();
}
const counted = await reader.countPrefix(prefix);
await reader.close();
const report: ScanReport = { seen, ordered, counted, heapBytes: peak.bytes };
process.stdout.write(JSON.stringify(report));
