import pLimit, { type LimitFunction } from 'p-limit';
import { pause } from '../abortable.ts';
import { PartitionMovedError, PartitionsError, TierUnavailableError } from '../errors.ts';
import type { Lanes } from '../lanes.ts';
import { type Logger, serverOf } from '../log.ts';
import type { ShardOption } from '../shard-list.ts';
import { hasPartition, type ShardMap } from '../shard-map.ts';
import { type DeploymentRow, mapVersion, readDeployment, type RowScope, takesWrites } from './deployment.ts';
import { closePool, createPool, inTransaction, type Pool, type Queryable, readL3 } from './pool.ts';
import { checkShards, unknownOwner } from './shard-check.ts';

/** One database of the deployment. */
export interface Shard {
  readonly name: string;
  readonly pool: Pool;
  /** Protocol, host and port. */
  readonly server: string;
}

/** Shards that are asked at once by one call. */
const AT_ONCE = 8;
/** How long a read looks for a partition that is on its way. The map changes within milliseconds. */
const SETTLE_MS = 10_000;
const FIRST_PAUSE_MS = 10;
const LAST_PAUSE_MS = 250;
/** One row by its primary key: a shard that takes longer is away. */
const VERSION_MS = 10_000;
/** A shard that is away must not hold up a look at the others. */
const LOOK_MS = 2000;

/**
 * The Postgres databases of a deployment and the map of its partitions. With one shard everything here passes straight through:
 * there is no guard, no further statement and no transaction more.
 *
 * With several, what a shard's own row says is what counts:
 *
 * - A write is a transaction that first locks the shard's row and asks whether the shard takes the partition. Who changes the map
 *   waits for such transactions. So a process with an old map cannot write to the wrong shard.
 * - A read is followed by a look at the version of the shard's map. It has not changed since the map was looked at before, so it
 *   was the same during the read. Else the read is done again.
 * - A read of all shards counts when each partition belongs to one of them, each by its own map of that time.
 */
export class Shards {
  readonly all: readonly Shard[];
  readonly #log: Logger;
  readonly #limit: LimitFunction = pLimit(AT_ONCE);
  /** What the row of each shard said last. */
  readonly #seen = new Map<Shard, ShardMap>();
  /** The newest that any shard, or Redis, told. */
  #map: ShardMap | undefined;
  #looking: Promise<void> | undefined;
  #learned: Promise<DeploymentRow> | undefined;

  constructor(shards: readonly Shard[], log: Logger) {
    this.all = shards;
    this.#log = log;
  }

  /** @param poolSize connections to each shard. They connect when they are first used. */
  static open(shards: readonly ShardOption[], poolSize: number, log: Logger): Shards {
    return new Shards(
      shards.map(({ name, url }) => ({ name, pool: createPool(url, poolSize, log), server: serverOf(url) })),
      log,
    );
  }

  /** Whether the deployment has one shard as far as this process goes. */
  get isOne(): boolean {
    return this.all.length === 1;
  }

  /** Undefined with one shard, and before `learn`. */
  get map(): ShardMap | undefined {
    return this.#map;
  }

  /** The shard to try for a partition. */
  of(partition: number): Shard {
    const owner = this.#map?.owners[partition];
    const shard = this.isOne ? this.all[0] : this.all.find(({ name }) => name === owner);
    if (shard === undefined) throw unknownOwner(partition, owner, this.all);
    return shard;
  }

  rowsOf(partition: number): PartitionRows {
    return new PartitionRows(this, partition);
  }

  /**
   * Reads the row of every shard, and compares.
   * @throws as `learnUneven`; PartitionsError when shards have different numbers of partitions
   */
  async learn(): Promise<DeploymentRow> {
    const { row, counts } = await this.learnUneven();
    if (counts.every((count) => count === row.partitions)) {
      this.#learned = Promise.resolve(row);
      return row;
    }
    throw new PartitionsError(
      `The shards have ${counts.join(' and ')} partitions: raising the number was not finished. Run \`tierline partitions raise ${row.partitions}\`.`,
    );
  }

  /** As `learn`, once. A process that knows only one of several shards must not take it for all. @throws as `learn` */
  async known(): Promise<void> {
    this.#learned ??= this.learn();
    try {
      await this.#learned;
    } catch (error) {
      this.#learned = undefined;
      throw error;
    }
  }

  /**
   * As `learn`, also when raising the number of partitions was interrupted. The row is one with the higher number.
   * @throws TierUnavailableError, SchemaMissingError; ShardsError when the shards are not those of one deployment
   */
  async learnUneven(): Promise<{ readonly row: DeploymentRow; readonly counts: readonly number[] }> {
    const rows = await this.each(({ pool }) => readDeployment(pool));
    checkShards(this.all, rows);
    if (!this.isOne) rows.forEach((row, i) => this.#note(this.all[i] as Shard, row.map));
    const row = rows.reduce((a, b) => (b.partitions > a.partitions ? b : a));
    return { row, counts: rows.map(({ partitions }) => partitions) };
  }

  /** Takes a map that was told elsewhere, when it is newer. */
  adopt(map: ShardMap): void {
    if (!this.isOne && map.version > (this.#map?.version ?? 0)) this.#map = map;
  }

  /** Reads the map of every shard again. Shards that are away are left out. Calls at one time share one look. */
  look(): Promise<void> {
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookAtAll(): Promise<void> {
    if (this.isOne) return;
    await Promise.allSettled(this.all.map((shard) => this.#lookAt(shard)));
  }

  async #lookAt(shard: Shard): Promise<ShardMap | undefined> {
    const { map } = await readDeployment(shard.pool, LOOK_MS);
    this.#note(shard, map);
    return map;
  }

  #note(shard: Shard, map: ShardMap | undefined): void {
    if (map === undefined) return;
    this.#seen.set(shard, map);
    this.adopt(map);
  }

  /** For statements that are sent to every shard. */
  get scope(): RowScope {
    return this.isOne ? 'all' : 'own';
  }

  /** Asks every shard, and waits for all of them. @throws TierUnavailableError that names the shard */
  async each<T>(work: (shard: Shard) => Promise<T>): Promise<T[]> {
    if (this.isOne) return [await work(this.all[0] as Shard)];
    const answers = await Promise.allSettled(
      this.all.map((shard) => this.#limit(() => this.named(shard, () => work(shard)))),
    );
    return answers.map((answer) => {
      if (answer.status === 'rejected') throw answer.reason;
      return answer.value;
    });
  }

  /** Does work at one shard. @throws TierUnavailableError that names it */
  async named<T>(shard: Shard, work: () => Promise<T>): Promise<T> {
    if (this.isOne) return work();
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TierUnavailableError) || error.shard !== undefined) throw error;
      throw new TierUnavailableError('l3', error.cause, shard.name);
    }
  }

  /**
   * Reads of every shard what it has of its own partitions, so that each partition is read once whatever moves meanwhile.
   * @param work must leave out rows of other partitions (`scope`)
   * @throws TierUnavailableError when a shard is away, or a partition was on its way for too long
   */
  async whole<T>(work: (shard: Shard) => Promise<T>): Promise<T[]> {
    await this.known();
    if (this.isOne) return [await readL3(() => work(this.all[0] as Shard))];
    return this.steadily(async () => {
      const maps = this.all.map((shard) => this.#seen.get(shard));
      const results = await this.each((shard) => readL3(() => work(shard)));
      const same = await this.each((shard) => this.#isSame(shard, maps[this.all.indexOf(shard)]));
      const twice = same.every(Boolean) ? this.#misplaced(maps as ShardMap[]) : 0;
      if (twice !== undefined) throw new PartitionMovedError(twice, this.of(twice).name);
      return results;
    });
  }

  /**
   * Reads rows by their ids: each id at the shard of its partition. The rows come in no order.
   * @throws as `whole`, but only of the shards that have some of the ids
   */
  async ofIds<T>(
    lanes: Lanes,
    ids: readonly string[],
    work: (shard: Shard, ids: readonly string[]) => Promise<T[]>,
  ): Promise<T[]> {
    await this.known();
    if (this.isOne) return readL3(() => work(this.all[0] as Shard, ids));
    return this.steadily(async () => {
      const parts = await Promise.all(
        this.split(lanes, ids).map(({ shard, own, partitions }) =>
          this.#limit(() =>
            this.named(shard, () =>
              readL3(async () => {
                const seen = this.#seen.get(shard);
                const rows = await work(shard, own);
                if (await this.hadSince(shard, seen, partitions)) return rows;
                throw new PartitionMovedError(partitions[0] as number, shard.name);
              }),
            ),
          ),
        ),
      );
      return parts.flat();
    });
  }

  /** The parts of a list of ids, by the shard that is tried for them. */
  split(lanes: Lanes, ids: readonly string[]): readonly PartOfIds[] {
    const parts = new Map<Shard, { own: string[]; partitions: Set<number> }>();
    for (const id of ids) {
      const partition = lanes.of(id);
      const shard = this.of(partition);
      let part = parts.get(shard);
      if (part === undefined) {
        part = { own: [], partitions: new Set() };
        parts.set(shard, part);
      }
      part.own.push(id);
      part.partitions.add(partition);
    }
    return Array.from(parts, ([shard, { own, partitions }]) => ({ shard, own, partitions: [...partitions] }));
  }

  /** A partition that no shard has, or two, each by its own map. */
  #misplaced(maps: readonly ShardMap[]): number | undefined {
    for (let partition = 0; partition < (maps[0]?.owners.length ?? 0); partition++) {
      const owners = this.all.filter(({ name }, i) => hasPartition(maps[i] as ShardMap, name, partition));
      if (owners.length !== 1) return partition;
    }
    return undefined;
  }

  /** Whether the shard still goes by this map. */
  async #isSame(shard: Shard, map: ShardMap | undefined): Promise<boolean> {
    return map !== undefined && (await readL3(() => mapVersion(shard.pool, VERSION_MS))) === map.version;
  }

  /** Whether the shard has had these partitions since before now: its map is the one that was seen before. */
  async hadSince(shard: Shard, seen: ShardMap | undefined, partitions: readonly number[]): Promise<boolean> {
    const had = (partition: number) => seen !== undefined && hasPartition(seen, shard.name, partition);
    return partitions.every(had) && this.#isSame(shard, seen);
  }

  /** The map that the shard's own row had when it was looked at last. */
  seen(shard: Shard): ShardMap | undefined {
    return this.#seen.get(shard);
  }

  /**
   * Repeats a read while a partition is on its way. Its time begins anew when the map has changed meanwhile: a move changes it four
   * times, and a read of many rows may meet each of them.
   * @throws TierUnavailableError when that takes too long
   */
  async steadily<T>(attempt: () => Promise<T>): Promise<T> {
    let until = performance.now() + SETTLE_MS;
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(2 * wait, LAST_PAUSE_MS)) {
      const version = this.#map?.version;
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof PartitionMovedError)) throw error;
        this.#log.debug({ partition: error.partition }, 'the map of partitions is looked at again');
        await this.look();
        if (this.#map?.version !== version) until = performance.now() + SETTLE_MS;
        else if (performance.now() > until) throw new TierUnavailableError('l3', error);
        await pause(wait * Math.random());
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(({ pool }) => closePool(pool)));
  }
}

interface PartOfIds {
  readonly shard: Shard;
  readonly own: readonly string[];
  readonly partitions: readonly number[];
}

/** The rows of one partition, in whichever shard has them. */
export class PartitionRows {
  readonly #shards: Shards;
  readonly #partition: number;

  constructor(shards: Shards, partition: number) {
    this.#shards = shards;
    this.#partition = partition;
  }

  /** How many partitions share the shard; undefined when there is one shard. */
  get neighbours(): number | undefined {
    const { map } = this.#shards;
    return map?.owners.filter((owner) => owner === this.shard).length;
  }

  /** Name of the shard that is tried for them. */
  get shard(): string {
    return this.#shards.of(this.#partition).name;
  }

  /**
   * Writes with one statement, which is a transaction of its own.
   * @throws PartitionMovedError when the shard does not take it; the map has been looked at again by then
   */
  write<T>(work: (db: Queryable) => Promise<T>): Promise<T> {
    if (this.#shards.isOne) return work(this.#shards.of(this.#partition).pool);
    return this.transaction(work);
  }

  /** Writes in one transaction. @throws as `write` */
  async transaction<T>(work: (db: Queryable) => Promise<T>): Promise<T> {
    const shard = this.#shards.of(this.#partition);
    if (this.#shards.isOne) return inTransaction(shard.pool, work);
    try {
      return await inTransaction(shard.pool, async (db) => {
        if (await takesWrites(db, this.#partition)) return work(db);
        throw new PartitionMovedError(this.#partition, shard.name);
      });
    } catch (error) {
      if (error instanceof PartitionMovedError) await this.#shards.look();
      throw error;
    }
  }

  /** Reads rows of the partition, also while it is being moved. @throws as `write` */
  async read<T>(work: (db: Pool) => Promise<T>): Promise<T> {
    const shard = this.#shards.of(this.#partition);
    if (this.#shards.isOne) return work(shard.pool);
    const seen = this.#shards.seen(shard);
    const result = await work(shard.pool);
    if (await this.#shards.hadSince(shard, seen, [this.#partition])) return result;
    await this.#shards.look();
    throw new PartitionMovedError(this.#partition, shard.name);
  }
}
