import { pressureOf } from '../../producer/pressure.ts';
import { readBacklog, waitingOf } from '../../redis/backlog.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { duration, facts, groupedDigits } from '../table.ts';

export const pressure: Command = {
  name: 'pressure',
  summary: 'Say how full the queue is: normal, warn or critical',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {},
  examples: [
    ['@ pressure', 'level, unsettled items, age of the oldest'],
    ['@ pressure --json | jq -r .level', 'for scripts'],
  ],
  async run({ terminal, connections, json }) {
    const { config, keys } = connections;
    const backlog = await readBacklog(await connections.redis(), keys);
    const now = pressureOf({ ...waitingOf(backlog), oldestMs: Math.round(backlog.oldestMs) }, config);
    await terminal.print(
      json
        ? JSON.stringify(now)
        : facts([
            ['level', now.level],
            ['full', percent(now.ratio)],
            [
              'unsettled items',
              `${groupedDigits(now.waitingItems)} of ${groupedDigits(config.maxWaitingItems)}`,
            ],
            [
              'unsettled bytes',
              `${groupedDigits(now.waitingBytes)} of ${groupedDigits(config.maxWaitingBytes)}`,
            ],
            [
              'memory of Redis',
              now.memoryShare === 0
                ? undefined
                : `${percent(now.memoryShare)} of maxmemory, of which ${percent(config.maxMemoryShare)} may be used`,
            ],
            ['oldest', now.oldestMs === 0 ? undefined : duration(now.oldestMs)],
          ]),
    );
    return EXIT.ok;
  },
};

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
