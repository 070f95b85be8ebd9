import type { Crash, Fate } from './crash.ts';
import { number } from './progress.ts';
import type { Verdict } from './verdict.ts';

/** How long one stage took for how many items. */
export interface Stage {
  readonly name: string;
  readonly items: number;
  readonly ms: number;
  readonly note?: string;
}

const NAME = 34;
const NUMBER = 12;

export function stageTable(stages: readonly Stage[]): string {
  const rows = stages.map(({ name, items, ms, note }) =>
    row(
      name,
      number(items),
      seconds(ms),
      number(items / (ms / 1000)),
      note === undefined ? '' : `   ${note}`,
    ),
  );
  return [row('stage', 'items', 'time', 'items/s', ''), ...rows].join('\n');
}

export function checkTable({ checks, root }: Verdict): string {
  const rows = checks.all.map(({ what, found, expected }) =>
    row(what, number(found), number(expected), found === expected ? 'exact' : 'WRONG', ''),
  );
  return [row('count', 'found', 'expected', '', ''), ...rows, '', `  Merkle root ${root}`].join('\n');
}

export function crashStory(crash: Crash, fate: Fate, lockMs: number): string {
  const lines = [
    `One worker was killed (SIGKILL) when ${number(crash.enqueued)} of the items were enqueued and ${number(crash.settled)} had settled.`,
  ];
  if (fate.held === 0) lines.push('It held no chunk at that moment: a run this short leaves little time.');
  else {
    lines.push(
      `Chunks it held: ${fate.held}. BullMQ gave them back ${seconds(fate.recoveredAfterMs)} later, when its lock of ${seconds(lockMs)} had expired.`,
      `Taken by another worker and settled: ${fate.recovered} of ${fate.held}.`,
    );
  }
  return lines.map((line) => `  ${line}`).join('\n');
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 1000 ? 3 : 1)} s`;
}

function row(name: string, first: string, second: string, third: string, note: string): string {
  const columns = [first, second, third].map((text) => text.padStart(NUMBER)).join('');
  return `  ${name.padEnd(NAME)}${columns}${note}`.trimEnd();
}
