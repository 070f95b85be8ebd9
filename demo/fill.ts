import type { Producer } from '../src/types.ts';
import type { DemoItem } from './changes.ts';
import { crashHalfway, type Crash } from './crash.ts';
import type { Model } from './model.ts';
import { seconds, type Stage } from './report.ts';
import type { TourParts } from './tour-parts.ts';
import { ITEMS_PER_CALL, Writes } from './writes.ts';

const LOOK_EVERY_MS = 100;

/** Enqueues everything, kills a worker half way and starts another, and waits until all has settled. */
export async function fill(
  parts: TourParts,
  producer: Producer,
  model: Model,
  items: readonly DemoItem[],
): Promise<{ readonly crash: Crash; readonly stages: readonly Stage[] }> {
  const { workers, observer, differences, progress, signal } = parts;
  const count = items.length;
  const writes = new Writes(count, producer, model, differences);
  progress.follow(writes);
  const stopTelling = tellOfWaiting(writes, parts);
  const startedAt = performance.now();

  const drain = async (): Promise<{ enqueuedMs: number; settledMs: number }> => {
    await writes.submit(items, signal);
    const enqueuedMs = performance.now() - startedAt;
    await writes.allSettled(signal);
    return { enqueuedMs, settledMs: performance.now() - startedAt };
  };
  const kill = async (): Promise<Crash> => {
    const crash = await crashHalfway(writes, workers, 'worker.1', observer.watch, signal);
    writes.leftBehind = [...crash.holdings.values()].flat().length * ITEMS_PER_CALL;
    progress.say('  worker.1 was killed (SIGKILL), worker.3 takes its place');
    await workers.start('worker.3', 'drain');
    return crash;
  };
  try {
    const [crash, { enqueuedMs, settledMs }] = await Promise.all([kill(), drain()]);
    const { waitedMs } = writes;
    const drained = { name: 'drain, all settled', items: count, ms: settledMs - waitedMs };
    const stages: Stage[] = [
      { name: 'enqueue', items: count, ms: enqueuedMs },
      waitedMs > 0 ? { ...drained, note: `+ ${seconds(waitedMs)} of waiting for the lock` } : drained,
      { name: 'end to end', items: count, ms: settledMs },
    ];
    return { crash, stages };
  } finally {
    stopTelling();
    progress.end();
  }
}

/** Says once why nothing moves: BullMQ waits for a worker that is gone. */
function tellOfWaiting(writes: Writes, { progress, lockMs }: TourParts): () => void {
  const timer = setInterval(() => {
    if (!writes.isWaiting) return;
    clearInterval(timer);
    progress.say(
      `  only the killed worker's chunks are left; BullMQ gives them back when its lock of ${seconds(lockMs)} on them has expired`,
    );
  }, LOOK_EVERY_MS);
  return () => clearInterval(timer);
}
