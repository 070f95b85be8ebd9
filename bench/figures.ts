import { pictures } from './pictures.ts';
import { formatted } from './plot.ts';
import { machineLine, measured, metricIn, type Results } from './results.ts';

/** One row of the README: a metric, what it says, and the goal that it is held to. */
interface Row {
  readonly bench: string;
  readonly metric: string;
  readonly says: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

const row = (
  bench: string,
  metric: string,
  says: string,
  goal: Pick<Row, 'atLeast' | 'atMost'> = {},
): Row => ({
  bench,
  metric,
  says,
  ...goal,
});

const ROWS: readonly Row[] = [
  row('drain', 'raw_upsert_items_per_s', 'the limit: plain `unnest` upsert, 4 connections, nothing else'),
  row('drain', 'items_per_s', 'Tierline, 2 worker processes, jobs queued, all tiers settled'),
  row('drain', 'naive_items_per_s', 'by hand: one job an item, knex upsert, Redis SET, 50 at once'),
  row('drain', 'ratio_vs_raw_upsert', 'Tierline against the limit', { atLeast: 0.6 }),
  row('drain', 'ratio_vs_naive', 'Tierline against by hand', { atLeast: 12 }),
  row('drain', 'worker_rss_mb', 'the most memory of a worker', { atMost: 200 }),
  row('enqueue', 'submit_many_items_per_s', 'calls of 500 items', { atLeast: 80_000 }),
  row('enqueue', 'ratio_vs_queue_add', '1,000 loops of single submits against `queue.add`', { atLeast: 3 }),
  row('latency', 'settle_p50_ms_at_1000', 'submit until settled, 1,000 items a second', { atMost: 6 }),
  row('latency', 'settle_p99_ms_at_1000', 'the same, 99th percentile', { atMost: 15 }),
  row('growth', 'update_ratio_at_1m', 'random updates of a million rows against plain upserts there', {
    atLeast: 0.65,
  }),
  row('read', 'peek_us', 'a hit in memory, synchronous', { atMost: 0.5 }),
  row('read', 'get_l1_us', 'a hit in memory, awaited', { atMost: 1.5 }),
  row('read', 'ratio_vs_bentocache', 'the same hits in BentoCache', { atLeast: 5 }),
  row('read', 'ratio_vs_raw_mget', 'getMany from Redis against bare MGET', { atLeast: 0.75 }),
  row('read', 'ratio_vs_raw_any', 'getMany from Postgres against bare `= ANY`', { atLeast: 0.7 }),
  row('read', 'ratio_vs_single_gets', '10,000 gets at once against bare GETs', { atLeast: 4.5 }),
  row('ranges', 'ratio_vs_plain_update', 'a range delete through all tiers against plain UPDATEs', {
    atLeast: 0.4,
  }),
  row('ranges', 'mixed_ratio', 'single writes with and without range deletes between them', { atLeast: 0.5 }),
  row('put', 'items_per_s', '`tierline put` of 135,233 cities', { atLeast: 15_000 }),
  row('put', 'cli_rss_mb', 'its memory', { atMost: 200 }),
  row('flood', 'ratio_vs_no_flood', 'drain rate while five times as much is offered', { atLeast: 0.9 }),
  row('flood', 'peak_waiting_items', 'the most items that waited meanwhile', { atMost: 50_500 }),
  row('contains', 'sql_per_100k', 'SQL statements for 100,000 absent ids', { atMost: 0 }),
  row('filter', 'bytes_per_id', 'the filter of ids', { atMost: 2.8 }),
  row('filter', 'false_positive_percent', 'its wrong "maybe"s', { atMost: 0.02 }),
  row('filter', 'false_negatives', 'its wrong "no"s', { atMost: 0 }),
  row('gateway', 'gets_per_s', 'HTTP GETs', { atLeast: 8000 }),
  row('gateway', 'batch_ratio_vs_submit_many', 'a batch over HTTP against `submitMany`', { atLeast: 0.5 }),
  row(
    'partitions',
    'cluster_drain_ratio',
    '8 partitions on three masters of the same cores against one Redis',
    {
      atLeast: 0.8,
    },
  ),
  row('partitions', 'cluster_mget_ratio', 'the same for reads', { atLeast: 0.5 }),
  row('merkle', 'diff_10_bytes', '10 differing items found over HTTP', { atMost: 20_000 }),
  row('merkle', 'diff_10_round_trips', 'the same in round trips', { atMost: 6 }),
  row('merkle', 'diff_10_ms', 'the same in time', { atMost: 150 }),
  row('merkle', 'diff_1000_bytes', '1,000 differing items', { atMost: 1_000_000 }),
  row('merkle', 'wide_node_ratio', 'a batch below one wide parent against a spread one', { atMost: 1.25 }),
  row('merkle', 'repair_ratio_vs_drain', 'rows repaired over HTTP against rows drained', { atLeast: 0.5 }),
];

const IN_README = ['bench-drain.svg', 'bench-latency.svg', 'bench-growth-writes.svg', 'bench-peers.svg'];

/** What the README shows. */
export function figures(results: Results): string {
  const shown = pictures(results).filter(({ file }) => IN_README.includes(file));
  const rows = ROWS.map(({ bench, metric, says, atLeast, atMost }) => {
    const found = metricIn(results, bench, metric);
    const told = found === undefined ? 'not measured' : `${measured(found)} ${found.unit}`;
    const value = found?.value ?? Number.NaN;
    const goal = [
      ...(atLeast === undefined ? [] : [`≥ ${formatted(atLeast)}${value < atLeast ? ', **missed**' : ''}`]),
      ...(atMost === undefined ? [] : [`≤ ${formatted(atMost)}${value > atMost ? ', **missed**' : ''}`]),
    ].join(' ');
    return `| ${bench} | \`${metric}\` | ${says} | ${told} | ${goal} |`;
  });
  return [
    ...shown.map(({ file, title }) => `![${title}](docs/images/${file})\n`),
    `${machineLine(results)}\n`,
    '| bench | metric | meaning | median (least to most) | goal |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** What draining one item costs each part, beside the limit and the hand-written worker. */
export function costTable(results: Results): string {
  const kinds = {
    worker_cpu_us: 'worker, µs of CPU',
    redis_cpu_us: 'Redis, µs of CPU',
    postgres_cpu_us: 'Postgres, µs of CPU',
    client_cpu_us: 'client, µs of CPU',
    redis_commands: 'Redis commands, with those of scripts',
    postgres_transactions: 'Postgres transactions',
    wal_bytes: 'bytes of write-ahead log',
  };
  const cell = (metric: string) => {
    const found = metricIn(results, 'drain', metric);
    return found === undefined ? '–' : measured(found);
  };
  const rows = Object.entries(kinds).map(
    ([kind, says]) =>
      `| ${says} | ${cell(kind)} | ${cell(`raw_upsert_${kind}`)} | ${cell(`naive_${kind}`)} |`,
  );
  return ['| of one item | Tierline | plain upsert | by hand |', '|---|---|---|---|', ...rows].join('\n');
}

/** All metrics, for people. */
export function resultsPage(results: Results): string {
  const sections = results.benches.map(({ name, options, seconds, ok }) => {
    const rows = results.metrics
      .filter(({ bench }) => bench === name)
      .map((metric) => `| \`${metric.metric}\` | ${measured(metric)} | ${metric.unit} |`);
    const ran = `\`npm run bench -- ${[name, options].join(' ').trim()}\`, ${seconds} s${ok ? '' : ', **failed**'}`;
    return [
      `## ${name}`,
      '',
      ran,
      '',
      '| metric | median (least to most) | unit |',
      '|---|---|---|',
      ...rows,
    ].join('\n');
  });
  return [
    '# Results of the benches',
    `Written by \`npm run bench\`. ${machineLine(results)}`,
    'What each bench measures stands in [docs/performance.md](../../docs/performance.md).',
    ...pictures(results).map(({ file, title }) => `![${title}](../../docs/images/${file})`),
    ...sections,
    '',
  ].join('\n\n');
}
