import { Command } from '@commander-js/extra-typings';
import type { MoveProgress } from '../../maintenance/partition-move.ts';
import type { MoveStep, ShardMap } from '../../shard-map.ts';
import { action, command, examples, EXIT, UsageError, wholeNumber } from '../command.ts';
import { Progress, table, type Terminal } from '../terminal.ts';

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

const move = command('move', 'Move a partition to another shard, or go on with a move that was interrupted')
  .argument('<partition>', 'its number', wholeNumber(0))
  .option('--to <shard>', 'name of the shard that is to have it')
  .option('--undo', 'give up a move that has not switched yet')
  .addHelpText(
    'after',
    examples(
      [
        'tierline partitions move 3 --to b',
        'its writes wait meanwhile, its reads do not; run it again after an interruption',
      ],
      ['tierline partitions move 3 --undo', 'it stays where it was, and the copies are deleted'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, partition, { to, undo }) => {
      if ((to === undefined) === (undo !== true))
        throw new UsageError('give --to SHARD or --undo, one of them');
      const { PartitionMove } = await import('../../maintenance/partition-move.ts');
      const { shards, log } = connections;
      await shards.learn();
      const bar = new MoveProgressBar(terminal);
      const started = performance.now();
      const move = new PartitionMove(shards, partition, log, (progress) => bar.show(progress));
      const other = await (to === undefined ? move.undo() : move.to(to)).finally(() => bar.stop());
      const ms = Math.round(performance.now() - started);
      const result = to === undefined ? { partition, at: other, ms } : { partition, from: other, to, ms };
      const text =
        to === undefined
          ? `partition ${partition} stays at shard ${other}`
          : `partition ${partition} moved from shard ${other} to ${to}`;
      await terminal.print(json ? JSON.stringify(result) : text);
      return EXIT.ok;
    }),
  );

const DONE: Readonly<Record<MoveStep, string>> = {
  copy: 'copied',
  switch: 'switched',
  empty: 'deleted at the old shard',
  undo: 'deleted at the new shard',
};

/** The progress of a move, with a bar for each step. */
class MoveProgressBar {
  readonly #terminal: Terminal;
  #latest: MoveProgress | undefined;
  #bar: Progress | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  show(progress: MoveProgress): void {
    if (progress.step !== this.#latest?.step) this.#begin(progress.step);
    this.#latest = progress;
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #begin(step: MoveStep): void {
    this.stop();
    this.#bar = new Progress(
      this.#terminal,
      () => {
        const { rows, total } = this.#latest ?? { rows: 0, total: 0 };
        return {
          share: total === 0 ? 1 : Math.min(1, rows / total),
          done: rows,
          waiting: Math.max(0, total - rows),
        };
      },
      { done: DONE[step], waiting: 'left', stalled: 'is a shard busy, or away?' },
    );
  }
}

export const partitions = new Command('partitions')
  .description('Partitions of the deployment')
  .addCommand(show)
  .addCommand(raise)
  .addCommand(move);
