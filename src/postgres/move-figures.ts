import { hashSpanOf } from '../lanes.ts';
import type { Move } from '../shard-map.ts';
import { shardNamed } from './map-changes.ts';
import { partitionNode } from './partition-rows.ts';
import { readL3 } from './pool.ts';
import type { Shards } from './shards.ts';

/** A move that is under way. */
export interface MoveFigures extends Move {
  /** Rows of the partition at the shard that it comes from, and at the one that it goes to, tombstones included. */
  readonly rowsFrom: number;
  readonly rowsTo: number;
}

/** Undefined when nothing is being moved. @throws TierUnavailableError that names the shard */
export async function readMove(shards: Shards): Promise<MoveFigures | undefined> {
  await shards.look();
  const { map } = shards;
  if (map?.move === undefined) return undefined;
  const { move, owners } = map;
  const rowsAt = (name: string) => {
    const shard = shardNamed(shards, name);
    return shards.named(shard, () =>
      readL3(async () => {
        const { items, tombstones } = await partitionNode(
          shard.pool,
          hashSpanOf(move.partition, owners.length),
        );
        return items + tombstones;
      }),
    );
  };
  const [rowsFrom, rowsTo] = await Promise.all([rowsAt(move.from), rowsAt(move.to)]);
  return { ...move, rowsFrom, rowsTo };
}
