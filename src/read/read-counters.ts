import type { FeedTail } from '../redis/feed.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import type { ReadCounters } from '../types.ts';
import type { Coherence } from './coherence.ts';
import type { L1Entry } from './l1-entry.ts';
import type { ItemReads } from './item-reads.ts';
import type { TierLookup } from './tier-lookup.ts';
import type { Presence } from './presence.ts';
import type { PendingReads } from './pending-reads.ts';
import type { TrustedFilter } from './trusted-filter.ts';

interface Counted {
  readonly l1: MemoryTier<L1Entry>;
  readonly reads: ItemReads;
  readonly pendingReads: PendingReads;
  readonly coherence: Coherence;
  readonly lookup: TierLookup;
  readonly l2: RedisTier;
  readonly l3: PostgresTier;
  readonly presence: Presence;
  readonly filter: TrustedFilter;
  readonly tail: FeedTail;
}

/** Gathers what each part has counted. */
export function countersOf(parts: Counted): ReadCounters {
  const { l1, reads, pendingReads, coherence, lookup, l2, l3, presence, filter, tail } = parts;
  const { evictions, expirations } = l1.counters;
  const { l2Hits, l2Misses, l3Hits, l3Misses } = lookup.counts;
  return {
    l1: {
      ...reads.counts,
      evictions,
      expirations,
      refusedFills: pendingReads.counts.refusedFills,
      flushes: coherence.flushes,
    },
    l2: { hits: l2Hits, misses: l2Misses, ...l2.counters },
    l3: { hits: l3Hits, misses: l3Misses, ...l3.counters },
    filter: {
      absent: pendingReads.counts.absent + presence.absent,
      loads: filter.loads,
      trusted: filter.isTrusted,
      ...filter.size,
    },
    feed: { live: tail.live, entry: tail.position.number },
  };
}
