import { MoveProgressBar } from '../move-progress.ts';
import { action, command, examples, EXIT, UsageError, wholeNumber } from '../command.ts';

export const move = command(
  'move',
  'Move a partition to another shard, or go on with a move that was interrupted',
)
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
