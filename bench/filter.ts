import { decodeFilter, encodeFilter } from '../src/filter/codec.ts';
import { MembershipFilter } from '../src/filter/membership.ts';
import type { Emit } from './metric.ts';

/** Membership filter at 1,000,000 ids: size, errors of both kinds, speed. Repeatable: the ids and the steps are the same each time. */
export async function filterBench(emit: Emit): Promise<void> {
  const COUNT = 1_000_000;
  const LOADS = 15;
  // Through JSON, because that is how ids arrive; a string built by `+` is put together by its first reader, here the filter.
  const makeIds = (prefix: string): string[] =>
    JSON.parse(JSON.stringify(Array.from({ length: COUNT }, (_, i) => `${prefix}.${i}`)));
  const present = makeIds('uk.nhs.patient');
  const absent = makeIds('uk.nhs.absent');

  // A filter is filled once before the clock runs, so that compiled code is measured.
  const warmUp = MembershipFilter.withCapacity(COUNT);
  for (const id of present) warmUp.add(id);

  const filter = MembershipFilter.withCapacity(COUNT);
  let startedAt = performance.now();
  for (const id of present) filter.add(id);
  emit('add_us', ((performance.now() - startedAt) * 1000) / COUNT, 'us');
  emit('bytes_per_id', filter.byteLength / COUNT, 'B');

  let found = 0;
  startedAt = performance.now();
  for (const id of present) if (filter.has(id)) found++;
  emit('has_us', ((performance.now() - startedAt) * 1000) / COUNT, 'us');
  let falseNegatives = COUNT - found;

  let falsePositives = 0;
  for (const id of absent) if (filter.has(id)) falsePositives++;
  emit('false_positive_percent', (falsePositives / COUNT) * 100, '%');

  const encoded = encodeFilter(filter);
  const loadsMs: number[] = [];
  for (let i = 0; i < LOADS; i++) {
    startedAt = performance.now();
    decodeFilter(encoded);
    loadsMs.push(performance.now() - startedAt);
  }
  emit('load_1m_ms', loadsMs.toSorted((a, b) => a - b)[LOADS >> 1] ?? Number.NaN, 'ms');

  // A life of 1 M steps: 7 in 10 add an id, the others delete one; the owner rebuilds when it is asked to, and
  // every id that lives is looked for before and after.
  let random = 0x9e3779b9;
  const below = (bound: number): number => {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    return (random >>> 0) % bound;
  };
  const live: string[] = [];
  let grown = MembershipFilter.withCapacity(1000);
  const countDenied = (): number => live.reduce((denied, id) => denied + (grown.has(id) ? 0 : 1), 0);
  for (let step = 0; step < COUNT; step++) {
    if (live.length === 0 || below(10) < 7) {
      const id = `step.${step}`;
      grown.add(id);
      live.push(id);
      if (!grown.has(id)) falseNegatives++;
    } else {
      const index = below(live.length);
      live[index] = live[live.length - 1]!;
      live.pop();
      grown.noteDead();
    }
    if (grown.needsRebuild) {
      falseNegatives += countDenied();
      grown = MembershipFilter.withCapacity(live.length * 1.2);
      for (const id of live) grown.add(id);
      falseNegatives += countDenied();
    }
  }
  falseNegatives += countDenied();
  emit('false_negatives', falseNegatives, '');
}
