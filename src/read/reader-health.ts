import { within } from '../abortable.ts';
import { messageOf } from '../errors.ts';
import { type Pool, pingPostgres } from '../postgres/pool.ts';
import type { Redis } from '../redis/connect.ts';
import type { BackendHealth, Health } from '../types.ts';

export interface HealthParts {
  readonly queue: Redis;
  /** The same server as the queue's, when there is one. */
  readonly cache: Redis;
  readonly pool: Pool;
  /** Milliseconds a backend may take. */
  readonly timeoutMs: number;
  readonly feed: { readonly live: boolean };
  readonly filter: { readonly isTrusted: boolean };
}

/** Asks every backend once, all at the same time. Never rejects: what does not answer is what it tells. */
export async function readerHealth(parts: HealthParts): Promise<Health> {
  const { queue, cache, pool, timeoutMs, feed, filter } = parts;
  const [queueHealth, cacheHealth, postgres] = await Promise.all([
    asked(() => queue.ping(), timeoutMs),
    asked(() => cache.ping(), timeoutMs),
    asked(() => pingPostgres(pool, timeoutMs), timeoutMs),
  ]);
  const backends = [queueHealth, cacheHealth, postgres];
  const isWhole = feed.live && backends.every(({ ok }) => ok);
  const answersReads = postgres.ok || cacheHealth.ok;
  return {
    status: isWhole ? 'ok' : answersReads ? 'degraded' : 'down',
    queue: queueHealth,
    cache: cacheHealth,
    postgres,
    feed: { live: feed.live },
    filter: { trusted: filter.isTrusted },
  };
}

async function asked(ask: () => Promise<unknown>, timeoutMs: number): Promise<BackendHealth> {
  const startedAt = performance.now();
  try {
    await within(timeoutMs, ask());
    return { ok: true, latencyMs: performance.now() - startedAt };
  } catch (error) {
    return { ok: false, error: messageOf(error) };
  }
}
