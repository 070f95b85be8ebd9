import { measured, metricIn, type Results } from '../results.ts';

/** The table of writes in docs/comparison.md: a row for each way, in the order in which they were measured. */
export function peerWrites(results: Results): string {
  const cell = (metric: string) => cellOf(results, metric);
  return [
    '| | items/s | x | CPU, µs an item | out of order, of 1,000 ids |',
    '|---|---|---|---|---|',
    ...namesOf(results, '_items_per_s').map(
      (name) =>
        `| \`${name}\` | ${cell(`${name}_items_per_s`)} | ${cell(`ratio_vs_${name}`)} | ${cell(`${name}_cpu_us`)} | ${cell(`${name}_out_of_order`)} |`,
    ),
  ].join('\n');
}

/** The table of reads. */
export function peerReads(results: Results): string {
  const reads = ['get_many_redis', 'get_many_postgres', 'hot_get'];
  const cells = (name: string) =>
    reads.flatMap((read) => [
      cellOf(results, `${name}_${read}_per_s`),
      cellOf(results, `${read}_ratio_vs_${name}`),
    ]);
  return [
    `| | ${reads.map((read) => `\`${read}\`, ids/s | x`).join(' | ')} |`,
    `|---|${reads.map(() => '---|---|').join('')}`,
    ...namesOf(results, '_hot_get_per_s').map((name) => `| \`${name}\` | ${cells(name).join(' | ')} |`),
  ].join('\n');
}

function namesOf({ metrics }: Results, suffix: string): string[] {
  return metrics
    .filter(({ bench, metric }) => bench === 'peers' && metric.endsWith(suffix))
    .map(({ metric }) => metric.slice(0, -suffix.length));
}

/** Empty where a way has no such figure: Tierline none against itself. */
function cellOf(results: Results, metric: string): string {
  const found = metricIn(results, 'peers', metric);
  return found === undefined ? '' : measured(found);
}
