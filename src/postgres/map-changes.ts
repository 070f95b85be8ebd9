import { MoveError, PartitionMovedError } from '../errors.ts';
import { hashSpanOf } from '../lanes.ts';
import { type Move, type ShardMap, withMove } from '../shard-map.ts';
import { DEPLOYMENT_IN_TURN, readDeployment, storeMap } from './deployment.ts';
import { partitionNode } from './partition-rows.ts';
import { type Queryable, readL3 } from './pool.ts';
import type { Shard, Shards } from './shards.ts';

/** Any fixed number: the advisory lock that lets one process copy rows to a shard at a time. */
const MOVE_LOCK = 7_409_134_024;

/** Waits until no other process copies rows to this shard, and keeps others out until the transaction ends. */
export async function takeMoveLock(db: Queryable): Promise<void> {
  await db.query('SELECT pg_advisory_xact_lock($1)', [MOVE_LOCK]);
}

/**
 * Keeps the map of a shard as it is until the transaction ends.
 * @throws PartitionMovedError when it is another one already
 */
export async function holdMap(db: Queryable, { version }: ShardMap, partition: number): Promise<void> {
  const { rows } = await db.query<{ version: number; shard: string }>(
    `SELECT map_version AS version, shard_name AS shard FROM ${DEPLOYMENT_IN_TURN} FOR SHARE OF deployment`,
  );
  if (rows[0]?.version !== version) throw new PartitionMovedError(partition, rows[0]?.shard ?? '');
}

/**
 * Brings the shards that lag behind to the newest map. A change of the map is written to one shard, where only one change of a
 * version can be, and whoever changes the map then brings it to the others.
 * @throws MoveError when the deployment never named its shards; TierUnavailableError that names the shard that is away
 */
export async function levelMaps(shards: Shards): Promise<ShardMap> {
  const rows = await shards.each(({ pool }) => readDeployment(pool));
  const maps = rows.flatMap(({ map }) => map ?? []);
  const newest = maps.reduce<ShardMap | undefined>(
    (a, b) => (a !== undefined && a.version >= b.version ? a : b),
    undefined,
  );
  if (newest === undefined || shards.isOne) {
    throw new MoveError(
      'The deployment has one shard, so its partitions cannot be moved. Name all shards in TIERLINE_SHARDS and run `tierline migrate`.',
    );
  }
  for (const [i, { map }] of rows.entries()) {
    const shard = shards.all[i];
    if (shard !== undefined && (map?.version ?? 0) < newest.version) {
      await shards.named(shard, () => readL3(() => storeMap(shard.pool, newest)));
    }
  }
  return newest;
}

/**
 * Replaces the map of one shard, if it still is the one of `before`.
 * @returns false when somebody else has changed it meanwhile
 * @throws TierUnavailableError that names the shard
 */
export function replaceMap(shards: Shards, name: string, before: ShardMap, map: ShardMap): Promise<boolean> {
  const shard = shardNamed(shards, name);
  return shards.named(shard, () => readL3(() => storeMap(shard.pool, map, before.version)));
}

/** A shard that the map names: `levelMaps` has compared its names with those of the configuration. */
export function shardNamed(shards: Shards, name: string): Shard {
  return shards.all.find((shard) => shard.name === name) as Shard;
}

/**
 * Ends a switch whose process has died. The copy is complete and compared, and nobody takes writes of the partition until the
 * switch ends.
 * @throws as `levelMaps`
 */
export async function endSwitch(shards: Shards): Promise<void> {
  if (shards.isOne) return;
  await shards.look();
  if (shards.map?.move?.step !== 'switch') return;
  const map = await levelMaps(shards);
  if (map.move?.step !== 'switch') return;
  await replaceMap(shards, map.move.to, map, withMove(map, { ...map.move, step: 'empty' }));
}

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
