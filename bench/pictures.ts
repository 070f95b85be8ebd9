import { type Bar, barChart, type Line, lineChart } from './plot.ts';
import { metricIn, type Results } from './results.ts';

/** A picture of the docs. */
interface Picture {
  readonly file: string;
  readonly title: string;
  readonly svg: string;
}

/** The pictures of a whole run. One whose bench failed is left out. */
export function pictures(results: Results): Picture[] {
  return [
    ['bench-drain.svg', 'Draining a full queue into Redis and Postgres', drained] as const,
    ['bench-latency.svg', 'From submit until Postgres and Redis have it', latency] as const,
    ['bench-growth-writes.svg', 'Writes as the table grows', growthOfWrites] as const,
    ['bench-growth-reads.svg', 'Lists, counts and digests as the table grows', growthOfReads] as const,
    ['bench-peers.svg', 'Enqueueing and storing, workers running', peerWrites] as const,
  ].flatMap(([file, title, draw]) => {
    const svg = draw(title, results);
    return svg === undefined ? [] : [{ file, title, svg }];
  });
}

type Drawn = string | undefined;

function drained(title: string, results: Results): Drawn {
  const bars = [
    ['raw_upsert_items_per_s', 'plain upsert, Postgres only'] as const,
    ['items_per_s', 'Tierline, 2 workers, all tiers'] as const,
    ['naive_items_per_s', 'by hand, one job an item'] as const,
  ].flatMap(([metric, label]): Bar[] => {
    const found = metricIn(results, 'drain', metric);
    return found === undefined ? [] : [{ ...found, label, ours: label.startsWith('Tierline') }];
  });
  return barChart(title, 'items a second', bars);
}

function latency(title: string, results: Results): Drawn {
  const line = (side: string, name: string, percentile: string, colour: number): Line => ({
    label: `${name}, ${percentile}`,
    points: pointsOf(results, 'latency', `${side}_${percentile}_ms`),
    colour,
    dashed: percentile !== 'p50',
  });
  return lineChart(title, 'items submitted a second', 'milliseconds', [
    line('settle', 'Tierline', 'p50', 0),
    line('settle', 'Tierline', 'p99', 0),
    line('naive', 'by hand', 'p50', 1),
    line('naive', 'by hand', 'p99', 1),
  ]);
}

function growthOfWrites(title: string, results: Results): Drawn {
  const kinds = ['update', 'insert', 'delete'];
  const lines = kinds.flatMap((kind, colour) => besidePlain(results, kind, 'items_per_s', colour));
  return lineChart(title, 'rows in the table', 'items a second', lines);
}

function growthOfReads(title: string, results: Results): Drawn {
  const kinds = ['page', 'count', 'root', 'prefix'];
  const lines = kinds.flatMap((kind, colour) => besidePlain(results, kind, 'ms', colour));
  return lineChart(title, 'rows in the table', 'milliseconds', lines);
}

function besidePlain(results: Results, kind: string, unit: string, colour: number): Line[] {
  const points = (side: string) => pointsOf(results, 'growth', `${side}${kind}_${unit}`);
  return [
    { label: kind, points: points(''), colour, dashed: false },
    { label: `${kind}, plain SQL`, points: points('plain_'), colour, dashed: true },
  ];
}

const PEERS = 'peers';
const PER_SECOND = '_items_per_s';

function peerWrites(title: string, { metrics }: Results): Drawn {
  const bars = metrics
    .filter(({ bench, metric }) => bench === PEERS && metric.endsWith(PER_SECOND))
    .map(({ metric, value, spread }): Bar => {
      const name = metric.slice(0, -PER_SECOND.length);
      return { label: name.replaceAll('_', ' '), value, spread, ours: name === 'tierline' };
    });
  const sorted = bars.toSorted((a, b) => b.value - a.value);
  return barChart(title, 'items a second', sorted);
}

const THOUSANDS: Readonly<Record<string, number>> = { k: 1000, m: 1_000_000 };

/** Of a metric that is measured at several sizes, as `…_at_10k` and `…_at_1m`. */
function pointsOf({ metrics }: Results, bench: string, name: string): [number, number][] {
  return metrics.flatMap(({ bench: of, metric, value }): [number, number][] => {
    const [, digits, unit = ''] = new RegExp(`^${name}_at_(\\d+)([km]?)$`).exec(metric) ?? [];
    return of === bench && digits !== undefined ? [[Number(digits) * (THOUSANDS[unit] ?? 1), value]] : [];
  });
}
