import test from 'ava';
import { figures, resultsPage } from '../../bench/figures.ts';
import { metricOf } from '../../bench/metric.ts';
import type { Results } from '../../bench/results.ts';

const MACHINE = {
  cpu: 'some',
  cores: 2,
  memoryGib: 4,
  node: 'v20',
  redis: 'Redis 7',
  postgres: 'Postgres 15',
};

function resultsOf(ratio: number): Results {
  return {
    date: '2026-01-01',
    machine: MACHINE,
    benches: [{ name: 'drain', options: '', seconds: 9, ok: false }],
    metrics: [
      metricOf('drain', 'ratio_vs_raw_upsert', { median: ratio, low: 0.41, high: 0.83 }, 'ratio'),
      metricOf('drain', 'items_per_s', 51_234, 'items/s'),
    ],
  };
}

function rowOf(results: Results, metric: string): string {
  const lines = figures(results).split('\n');
  return lines.find((line) => line.includes(`\`${metric}\``)) ?? '';
}

test('the table of figures says which goal is missed, and what was not measured', (t) => {
  t.regex(
    rowOf(resultsOf(0.599), 'ratio_vs_raw_upsert'),
    /0\.599 \(0\.41 to 0\.83\).*≥ 0\.6, \*\*missed\*\*/,
  );
  t.notRegex(rowOf(resultsOf(0.6), 'ratio_vs_raw_upsert'), /missed/);
  t.regex(rowOf(resultsOf(0.6), 'ratio_vs_naive'), /not measured/);
});

test('a run is written down with its failures, and only what was measured is drawn', (t) => {
  const page = resultsPage(resultsOf(0.6));
  t.regex(page, /bench -- drain`, 9 s, \*\*failed\*\*/);
  t.regex(page, /bench-drain\.svg/);
  t.notRegex(page, /bench-latency\.svg/);
});
