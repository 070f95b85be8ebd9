import { within } from '../abortable.ts';
import type { Stamp } from '../clock.ts';
import type { Lanes } from '../lanes.ts';
import type { Redis } from '../redis/client.ts';
import { type SeenVersion, settledCheck } from '../redis/in-flight.ts';
import type { SettledQuestion } from './floors.ts';

/** Asks each partition about its own ids. One that cannot be asked leaves its versions unsettled. */
export function settledQuestion(redis: Redis, lanes: Lanes, timeoutMs: number): SettledQuestion {
  const horizons = lanes.keys.map((): Stamp => 0);
  return async (seen) => {
    const settled = seen.map(() => false);
    const ofLane = lanes.keys.map((): number[] => []);
    seen.forEach(({ id }, i) => ofLane[lanes.of(id)]?.push(i));
    const asked = await Promise.allSettled(
      lanes.keys.map(async (keys, lane) => {
        const places = ofLane[lane] as number[];
        const versions = places.map((i) => seen[i] as SeenVersion);
        const answer = await within(timeoutMs, settledCheck(redis, keys, versions));
        horizons[lane] = Math.max(horizons[lane] as Stamp, answer.horizon);
        places.forEach((place, i) => (settled[place] = answer.settled[i] === true));
      }),
    );
    const failure = asked.find((result) => result.status === 'rejected');
    if (failure !== undefined && asked.every(({ status }) => status === 'rejected')) throw failure.reason;
    // As of this question: a reading that begins now must not take a version for settled that settles while it goes on.
    const known = [...horizons];
    return { horizonOf: (id) => known[lanes.of(id)] as Stamp, settled };
  };
}
