import { Command } from '@commander-js/extra-typings';
import { readDeployment } from '../../postgres/deployment.ts';
import { action, command, examples, EXIT, wholeNumber } from '../command.ts';

const show = command('show', 'Say how many partitions the deployment has')
  .addHelpText('after', examples(['tierline partitions show', 'the number that every process goes by']))
  .action(
    action(async ({ terminal, connections, json }) => {
      const { partitions } = await readDeployment(connections.pool());
      await terminal.print(json ? JSON.stringify({ partitions }) : String(partitions));
      return EXIT.ok;
    }),
  );

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
      const parts = { pool: connections.pool(), queue: await connections.redis(), namespace, log };
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
  .addCommand(raise);
