import { z } from 'zod';

/**
 * Where a move is (docs/decisions/0019-moving-a-partition.md). In `copy` and `switch` nobody takes writes of the partition. In `empty` and
 * `undo` its owner does, and the other shard deletes what it has of it.
 */
export const MOVE_STEPS = ['copy', 'switch', 'empty', 'undo'] as const;
export type MoveStep = (typeof MOVE_STEPS)[number];

/** A partition that is on its way to another shard. */
export interface Move {
  readonly partition: number;
  readonly from: string;
  readonly to: string;
  readonly step: MoveStep;
}

/**
 * Which shard has which partition. Each shard keeps the map in its own `deployment` row, and what that row says binds the shard:
 * it takes writes of a partition only while its own row names it as the owner and no move that copies or switches that partition.
 * So a process with an old map cannot write to the wrong shard.
 *
 * A change is written to one shard first and then brought to the others. In between, the shards know different versions. The
 * highest version counts for who looks for a partition.
 */
export interface ShardMap {
  /** Grows by one with each change. */
  readonly version: number;
  /** All shards of the deployment, also those that have no partition. */
  readonly shards: readonly string[];
  /** Names of the shards, by partition. */
  readonly owners: readonly string[];
  /** Left out when no partition is on its way. */
  readonly move?: Move | undefined;
}

/** As it is stored, beside its version. */
export const storedMapSchema = z.object({
  shards: z.array(z.string()),
  owners: z.array(z.string()),
  move: z
    .object({ partition: z.int(), from: z.string(), to: z.string(), step: z.enum(MOVE_STEPS) })
    .optional(),
});

/** The first map of new shards: neighbours stay together, and each shard gets as many as it can. */
export function spread(shards: readonly string[], partitions: number): ShardMap {
  const owners = Array.from(
    { length: partitions },
    (_, partition) => shards[Math.floor((partition * shards.length) / partitions)] as string,
  );
  return { version: 1, shards, owners };
}

/** Whether a shard whose own map this is has the partition. */
export function hasPartition(map: ShardMap, shard: string, partition: number): boolean {
  return map.owners[partition] === shard;
}

/** The map after the number of partitions was raised by a power of two: each is split and stays where it is. */
export function withPartitions(map: ShardMap, count: number): ShardMap {
  const parts = count / map.owners.length;
  return {
    version: map.version + 1,
    shards: map.shards,
    owners: map.owners.flatMap((owner) => Array<string>(parts).fill(owner)),
  };
}

/** The next map, with this move under way, or with none. From its switch on the partition is the new shard's. */
export function withMove({ version, shards, owners }: ShardMap, move: Move | undefined): ShardMap {
  const moved = (move: Move) => owners.with(move.partition, hasSwitched(move) ? move.to : move.from);
  return move === undefined
    ? { version: version + 1, shards, owners }
    : { version: version + 1, shards, owners: moved(move), move };
}

function hasSwitched({ step }: Move): boolean {
  return step === 'switch' || step === 'empty';
}
