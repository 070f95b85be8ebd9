import { openReader } from '../../src/read/open-reader.ts';

/** Scans all ids of a prefix in a process of its own, whose memory is the reader's alone. */
const prefix = process.argv[2] as string;
const reader = await openReader({ logLevel: 'silent', filterMaxBytes: 0 });
let seen = 0;
let ordered = true;
let last = '';
let rssBytes = 0;
for await (const { id } of reader.scanPrefix(prefix)) {
  if (id <= last) ordered = false;
  last = id;
  if (++seen % 10_000 === 0) rssBytes = Math.max(rssBytes, process.memoryUsage.rss());
}
const counted = await reader.countPrefix(prefix);
await reader.close();
process.stdout.write(JSON.stringify({ seen, ordered, counted, rssBytes }));
