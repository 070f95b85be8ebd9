import { Command } from '@commander-js/extra-typings';
import { action, command, examples, EXIT, wholeNumber } from '../command.ts';
import type { ShardMap } from '../../shard-map.ts';
import { table } from '../table.ts';
import { move } from './move.ts';

const show = command('show', 'Say how many partitions the deployment has, and at which shards')
  .addHelpText(
    'after',
    examples(['tierline partitions show', 'the number that every process goes by, and the shard of each']),
  )
  .action(
    action(async ({ terminal, connections, json }) => {
      const { partitions } = await connections.shards.learn();
      const { map } = connections.shards;
      if (json) await terminal.print(JSON.stringify({ partitions, ...map }));
      else if (map === undefined) await terminal.print(String(partitions));
      else await terminal.print(table(['partition', 'shard', 'move'], map.owners.map(rowOf(map))));
      return EXIT.ok;
    }),
  );

function rowOf({ move }: ShardMap): (owner: string, partition: number) => (string | undefined)[] {
  return (owner, partition) => [
    String(partition),
    owner,
    move?.partition === partition ? `from ${move.from} to ${move.to}, step ${move.step}` : undefined,
  ];
}

const raise = command('raise', 'Raise the number of partitions while no other process of the deployment runs')
  .argument('<number>', 'a higher power of two, 256 at most', wholeNumber(1))
  .addHelpText(
    'after',
    examples(
      ['tierline status', 'nothing may be unsettled, and every process must be stopped'],
      ['tierline partitions raise 8', 'then start the processes again'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, count) => {
      const { raisePartitions } = await import('../../maintenance/raise-partitions.ts');
      const { config, log } = connections;
      const { namespace } = config;
      const parts = { shards: connections.shards, queue: await connections.redis(), namespace, log };
      const before = await raisePartitions(parts, count);
      await terminal.print(
        json
          ? JSON.stringify({ before, partitions: count })
          : `raised from ${before} to ${count}; start the processes again`,
      );
      return EXIT.ok;
    }),
  );

export const partitions = new Command('partitions')
  .description('Partitions of the deployment')
  .addCommand(show)
  .addCommand(raise)
  .addCommand(move);
