import { z } from 'zod';

/** Rows of a partition are on their way to another shard. */
export interface Move {
  readonly partition: number;
  readonly to: string;
}

/**
 * Which shard has which partition. Each shard keeps the map in its own `deployment` row, and what that row says binds the shard:
 * it takes writes of a partition only while its own row names it as the owner and no move of that partition. So a process with
 * an old map cannot write to the wrong shard.
 *
 * A change is written to the shard that gives up first, and last to those that have no part in it. In between, the shards know
 * different versions. The highest version counts for who looks for a partition.
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
  move: z.object({ partition: z.int(), to: z.string() }).optional(),
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
