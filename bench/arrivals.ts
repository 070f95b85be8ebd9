import { setTimeout as sleep } from 'node:timers/promises';
import type { Emit } from './metric.ts';

export interface Schedule {
  readonly perSecond: number;
  readonly ms: number;
  /** Ends it earlier. */
  readonly signal?: AbortSignal;
}

const PERCENTILES = { p50: 0.5, p99: 0.99, p999: 0.999 } as const;
/** Reaching less of the rate, calls pile up: how late they are then tells only how long it went on. */
const FOLLOWED = 0.97;

/** How calls that were made at a fixed rate went. */
export class Arrivals {
  readonly #sorted: readonly number[];
  readonly #asked: number;
  /** Calls that ended a second, from the first until the last has ended: below the rate when calls pile up. */
  readonly reachedPerSecond: number;

  constructor(latencies: readonly number[], asked: number, reachedPerSecond: number) {
    this.#sorted = latencies.toSorted((a, b) => a - b);
    this.#asked = asked;
    this.reachedPerSecond = reachedPerSecond;
  }

  /** The milliseconds that this share of the calls took at most. */
  percentile(share: number): number {
    return this.#sorted[Math.max(0, Math.ceil(share * this.#sorted.length) - 1)] ?? Number.NaN;
  }

  /** The calls of several rounds as one. */
  static together(rounds: readonly Arrivals[]): Arrivals {
    return new Arrivals(
      rounds.flatMap((round) => [...round.#sorted]),
      Math.max(...rounds.map((round) => round.#asked)),
      Math.min(...rounds.map((round) => round.reachedPerSecond)),
    );
  }

  /** Half of the calls took at most `NAME_p50_ms_WHEN`, and so on. Of less than 1,000 calls `p999` is the slowest. */
  emit(emit: Emit, name: string, when: string): void {
    const unit = this.reachedPerSecond < FOLLOWED * this.#asked ? 'ms, growing' : 'ms';
    for (const [percentile, share] of Object.entries(PERCENTILES)) {
      emit(`${name}_${percentile}_ms_${when}`, this.percentile(share), unit);
    }
  }
}

/**
 * Calls `work` at the times of the schedule, whether or not earlier calls have ended, as requests of users come. A call's time
 * counts from when it was due: what waits because the caller or the system falls behind is not hidden. A timer of Node makes
 * calls up to 1 ms late, and that counts too.
 */
export async function arrive(
  { perSecond, ms, signal }: Schedule,
  work: (n: number) => Promise<unknown>,
): Promise<Arrivals> {
  const count = Math.round((perSecond * ms) / 1000);
  const latencies: number[] = [];
  const calls: Promise<void>[] = [];
  const goesOn = () => calls.length < count && signal?.aborted !== true;
  const started = performance.now();
  const call = async (n: number) => {
    await work(n);
    latencies.push(performance.now() - started - (n * 1000) / perSecond);
  };
  while (goesOn()) {
    const due = Math.min(count, 1 + Math.floor(((performance.now() - started) * perSecond) / 1000));
    while (calls.length < due) {
      const calling = call(calls.length);
      // It is awaited at the end; until then a failure is nobody's.
      calling.catch(() => undefined);
      calls.push(calling);
    }
    await sleep(1);
  }
  const scheduledMs = (calls.length * 1000) / perSecond;
  await Promise.all(calls);
  const reached = (calls.length * 1000) / Math.max(scheduledMs, performance.now() - started);
  return new Arrivals(latencies, perSecond, reached);
}
