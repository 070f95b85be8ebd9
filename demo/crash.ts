import { setTimeout as sleep } from 'node:timers/promises';
import type { ProgressSource } from './progress.ts';
import type { QueueWatch } from './queue-watch.ts';
import type { Workers } from './workers.ts';

const LOOK_EVERY_MS = 2;
/** Commands the dead process had already sent may still run for a moment. */
const LAST_COMMANDS_MS = 100;

/** One worker's violent end. */
export interface Crash {
  readonly at: number;
  readonly enqueued: number;
  readonly settled: number;
  /** Chunks being worked on right after it, by worker. Which of the workers is the dead one shows later: see `fateOf`. */
  readonly holdings: ReadonlyMap<string, readonly string[]>;
}

/**
 * Kills a worker with SIGKILL in the middle of its work: once half of the writes are enqueued and both workers hold
 * chunks. When a short run is enqueued before that happens, one holding worker is enough.
 */
export async function crashHalfway(
  writes: ProgressSource,
  workers: Workers,
  victim: string,
  watch: QueueWatch,
  signal: AbortSignal,
): Promise<Crash> {
  for (;;) {
    await sleep(LOOK_EVERY_MS, undefined, { signal });
    if (writes.enqueued < writes.total / 2) continue;
    if (writes.settled === writes.total) break;
    const holders = (await watch.holdings()).size;
    if (holders >= (writes.enqueued < writes.total ? 2 : 1)) break;
  }
  const { enqueued, settled } = writes;
  await workers.kill(victim);
  const at = performance.now();
  await sleep(LAST_COMMANDS_MS, undefined, { signal });
  return { at, enqueued, settled, holdings: await watch.holdings() };
}

export interface Fate {
  /** Chunks the killed worker held. */
  readonly held: number;
  /** Of these: found abandoned by BullMQ, started by another worker, completed. */
  readonly recovered: number;
  /** From the kill to BullMQ giving back the last of them. */
  readonly recoveredAfterMs: number;
  /** What did not go as it must. */
  readonly problems: readonly string[];
}

/** What became of the killed worker's chunks, once everything has settled. */
export function fateOf(crash: Crash, watch: QueueWatch): Fate {
  const { recoveries } = watch;
  // Only a dead worker's chunks are ever found abandoned: that tells whose they were.
  const dead = [...crash.holdings.values()].find((chunks) => chunks.some((chunk) => recoveries.has(chunk)));
  const held = dead ?? [];
  const problems = held
    .filter((chunk) => recoveries.get(chunk)?.completed !== true)
    .map((chunk) => `chunk ${chunk} of the killed worker: not seen to be recovered and completed`);
  for (const chunk of recoveries.keys()) {
    if (!held.includes(chunk))
      problems.push(`chunk ${chunk}: abandoned, but the killed worker did not hold it`);
  }
  const stalledAt = Math.max(crash.at, ...[...recoveries.values()].map((recovery) => recovery.stalledAt));
  const recovered = held.filter((chunk) => {
    const recovery = recoveries.get(chunk);
    return recovery?.startedAgain === true && recovery.completed;
  }).length;
  return { held: held.length, recovered, recoveredAfterMs: stalledAt - crash.at, problems };
}
