import { pressureOf } from '../../producer/pressure.ts';
import { readBacklog } from '../../redis/backlog.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { duration, facts } from '../table.ts';

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
    const now = pressureOf(backlog.pendingItems, Math.round(backlog.oldestMs), config.maxWaitingItems);
    await terminal.print(
      json
        ? JSON.stringify(now)
        : facts([
            ['level', now.level],
            [
              'full',
              `${(now.ratio * 100).toFixed(1)} % of ${config.maxWaitingItems.toLocaleString('en-US')}`,
            ],
            ['unsettled items', now.waitingItems],
            ['oldest', now.oldestMs === 0 ? undefined : duration(now.oldestMs)],
          ]),
    );
    return EXIT.ok;
  },
};
