import { spawnSync } from 'node:child_process';

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
