import type { Keys } from '../keys.ts';
import { type ChangeKind, changeKindAt, feedChangesSchema } from '../schema/feed.ts';
import type { Redis } from './client.ts';

export interface FeedMention {
  readonly entryId: string;
  /** When the batch settled, in milliseconds since 1970. */
  readonly atMs: number;
  readonly contentVersion: number;
  readonly stateVersion: number;
  readonly kind: ChangeKind;
}

export interface FeedHistory {
  /** Newest first. */
  readonly mentions: readonly FeedMention[];
  /** Entries looked at. */
  readonly entries: number;
  /** Whether the whole feed was looked at. */
  readonly complete: boolean;
}

/** Entries of one read. An entry of 1,000 ids has about 40 KB. */
const PAGE_ENTRIES = 20;

/** What the change feed still tells of one id, newest first, stopping after `maxMentions` or `maxMs`. */
export async function feedHistory(
  redis: Redis,
  keys: Keys,
  id: string,
  { maxMentions = 50, maxMs = 1500 } = {},
): Promise<FeedHistory> {
  const deadline = performance.now() + maxMs;
  // Parsing is slow, so parse only the entries whose text holds the id as JSON.
  const needle = JSON.stringify(id);
  const mentions: FeedMention[] = [];
  let entries = 0;
  for (let end = '+'; ; ) {
    const page = await redis.xrevrange(keys.feed, end, '-', 'COUNT', PAGE_ENTRIES);
    for (const [entryId, fields] of page) {
      entries++;
      const changes = fields[fields.indexOf('changes') + 1] ?? '';
      if (changes.includes(needle)) mentions.push(...mentionsIn(entryId, changes, id));
    }
    const last = page.at(-1)?.[0];
    if (page.length < PAGE_ENTRIES || last === undefined) return { mentions, entries, complete: true };
    if (mentions.length >= maxMentions || performance.now() > deadline) {
      return { mentions: mentions.slice(0, maxMentions), entries, complete: false };
    }
    end = `(${last}`;
  }
}

function mentionsIn(entryId: string, changes: string, id: string): FeedMention[] {
  const parsed = feedChangesSchema.safeParse(JSON.parse(changes));
  if (!parsed.success) return [];
  const { ids, cv, sv } = parsed.data;
  const found: FeedMention[] = [];
  for (let at = ids.indexOf(id); at !== -1; at = ids.indexOf(id, at + 1)) {
    found.push({
      entryId,
      atMs: Number(entryId.split('-')[0]),
      contentVersion: cv[at] ?? 0,
      stateVersion: sv?.[at] ?? 0,
      kind: changeKindAt(parsed.data, at),
    });
  }
  return found;
}
