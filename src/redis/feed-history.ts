import type { Keys } from '../keys.ts';
import { type ChangeKind, changeKindAt, feedChangesSchema } from '../schema/feed.ts';
import type { Redis } from './connect.ts';

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
  /** The whole feed was looked at, and not only its newest part. */
  readonly complete: boolean;
}

/** Entries of one read: an entry of 1,000 ids has about 40 KB. */
const PAGE = 20;

/** What the change feed still tells of one id, newest first, stopping after `maxMentions` or `maxMs`. */
export async function feedHistory(
  redis: Redis,
  keys: Keys,
  id: string,
  { maxMentions = 50, maxMs = 1500 } = {},
): Promise<FeedHistory> {
  const deadline = performance.now() + maxMs;
  // Parsing every entry would take most of the time; the id as JSON stands in the text of the few that matter.
  const needle = JSON.stringify(id);
  const mentions: FeedMention[] = [];
  let entries = 0;
  for (let end = '+'; ; ) {
    const page = await redis.xrevrange(keys.feed, end, '-', 'COUNT', PAGE);
    for (const [entryId, fields] of page) {
      entries++;
      const changes = fields[fields.indexOf('changes') + 1] ?? '';
      if (changes.includes(needle)) mentions.push(...mentionsIn(entryId, changes, id));
    }
    const last = page.at(-1)?.[0];
    if (page.length < PAGE || last === undefined) return { mentions, entries, complete: true };
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
