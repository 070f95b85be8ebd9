import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What `promtool check metrics` finds wrong with an exposition; '' when it accepts it. */
export function promtoolComplaints(exposition: string): string {
  const { error, status, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: exposition,
    encoding: 'utf8',
  });
  if (error !== undefined) {
    throw new Error('promtool is not installed: apt-get install -y prometheus', { cause: error });
  }
  return status === 0 ? stderr.trim() : `exit ${status}: ${stderr.trim()}`;
}

/** Value of one series of an exposition, its labels written as they appear there. */
export function seriesValue(exposition: string, series: string): number | undefined {
  const line = exposition.split('\n').find((line) => line.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

/** Names of an exposition's own metrics that docs/metrics.md lacks. */
export function undocumented(exposition: string): string[] {
  const docs = readFileSync('docs/metrics.md', 'utf8');
  const names = [...exposition.matchAll(/^# TYPE (tierline_\w+)/gm)].map(([, name]) => name as string);
  return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(docs));
}
