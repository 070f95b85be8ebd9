import { isDeepStrictEqual } from 'node:util';
import { MoveError, PartitionMovedError } from '../errors.ts';
import { hashSpanOf } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { holdMap, levelMaps, replaceMap, shardNamed, takeMoveLock } from '../postgres/map-changes.ts';
import { copyRangeMarks, moveDeadLetters, removeNotes } from '../postgres/partition-notes.ts';
import {
  copySlice,
  firstPlace,
  nextSlice,
  type PartitionHashes,
  partitionNode,
  placeAfter,
  reachedPlace,
  removeSlice,
} from '../postgres/partition-rows.ts';
import { inTransaction, type Pool, readL3 } from '../postgres/pool.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import { type Move, type MoveStep, type ShardMap, withMove } from '../shard-map.ts';

/** How far a move is. */
export interface MoveProgress {
  readonly step: MoveStep;
  /** Rows that are copied, or deleted, by now. */
  readonly rows: number;
  /** Rows that this step has to do. */
  readonly total: number;
}

/**
 * Moves one partition to another shard (docs/decisions/0019-moving-a-partition.md).
 *
 * The map says which step is under way, and each step can be repeated, so a move that was interrupted at any moment goes on when
 * it is run again; two processes may run the same move.
 *
 * - **copy**: nobody writes rows of the partition. Reads go to the old shard. The rows are copied slice by slice, and the
 *   two subtrees are compared. It can be undone.
 * - **switch**: still nobody writes. First the new shard takes reads, then the old one refuses them. In between both have the
 *   same rows.
 * - **empty**: the new shard takes writes. The old one deletes what it has left.
 * - **undo**: the old shard takes writes again. The new one deletes the copies.
 */
export class PartitionMove {
  readonly #shards: Shards;
  readonly #partition: number;
  readonly #log: Logger;
  readonly #onProgress: (progress: MoveProgress) => void;

  constructor(
    shards: Shards,
    partition: number,
    log: Logger,
    onProgress: (progress: MoveProgress) => void = () => undefined,
  ) {
    this.#shards = shards;
    this.#partition = partition;
    this.#log = log;
    this.#onProgress = onProgress;
  }

  /**
   * Moves it, or goes on with the move that was interrupted.
   * @returns the shard that it came from
   * @throws MoveError; TierUnavailableError that names the shard that is away
   */
  async to(target: string): Promise<string> {
    let map = await levelMaps(this.#shards);
    this.#check(map, target);
    let from = map.move?.from ?? map.owners[this.#partition] ?? '';
    while (map.move !== undefined || map.owners[this.#partition] !== target) {
      const { move } = map;
      if (move === undefined) from = map.owners[this.#partition] ?? '';
      else this.#refuseOther(move, target);
      map = await this.#after(map, () =>
        move === undefined ? this.#begin(map, from, target) : this.#advance(map, move),
      );
    }
    return from;
  }

  /**
   * Gives up a move before its switch: the partition stays where it was.
   * @returns the shard that has it
   * @throws as `to`
   */
  async undo(): Promise<string> {
    let map = await levelMaps(this.#shards);
    const { move } = map;
    if (move?.partition !== this.#partition) {
      throw new MoveError(`Partition ${this.#partition} is not being moved, so there is nothing to undo.`);
    }
    while (map.move?.partition === this.#partition) {
      const current = map;
      map = await this.#after(map, () => this.#undoStep(current, current.move as Move));
    }
    return move.from;
  }

  /** @returns the map after one step, also when somebody else has changed it: goes on with the move, or undoes it */
  async #after(map: ShardMap, step: () => Promise<void>): Promise<ShardMap> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof PartitionMovedError)) throw error;
      this.#log.info({ version: map.version }, 'somebody else has changed the map of partitions');
    }
    return levelMaps(this.#shards);
  }

  async #undoStep(map: ShardMap, move: Move): Promise<void> {
    const { step, to } = move;
    if (step === 'undo') return this.#advance(map, move);
    if (step === 'copy') {
      await this.#replace(to, map, withMove(map, { ...move, step: 'undo' }));
      return;
    }
    const again = `tierline partitions move ${this.#partition} --to ${to}`;
    throw new MoveError(
      `Partition ${this.#partition} is at shard ${to} by now, so the move cannot be undone. End it with \`${again}\`, then move the partition back.`,
    );
  }

  #check(map: ShardMap, target: string): void {
    const count = map.owners.length;
    if (this.#partition >= count) {
      throw new MoveError(`There is no partition ${this.#partition}: the deployment has 0 to ${count - 1}.`);
    }
    if (!map.shards.includes(target)) {
      throw new MoveError(`There is no shard ${target}: the deployment has ${map.shards.join(', ')}.`);
    }
    if (map.move !== undefined) return this.#refuseOther(map.move, target);
    if (map.owners[this.#partition] === target) {
      throw new MoveError(`Partition ${this.#partition} is at shard ${target} already.`);
    }
  }

  #refuseOther({ partition, to, step }: Move, target: string): void {
    if (partition === this.#partition && to === target) return;
    const undo =
      step === 'copy' || step === 'undo' ? `, or give it up with --undo in place of --to ${to}` : '';
    throw new MoveError(
      `Partition ${partition} is being moved to shard ${to}. One move goes on at a time: end it with \`tierline partitions move ${partition} --to ${to}\`${undo}.`,
    );
  }

  async #begin(map: ShardMap, from: string, to: string): Promise<void> {
    const move: Move = { partition: this.#partition, from, to, step: 'copy' };
    // What an earlier owner may have left there. By the map nobody has it.
    await this.#clear(this.#shard(to), map, 'copy');
    // All moves begin at the first shard, so two cannot begin at once.
    const begun = await this.#replace(map.shards[0] as string, map, withMove(map, move));
    if (begun) this.#log.info({ ...move }, 'a partition is being moved');
  }

  /** Does the step that the map names, and names the next one. */
  async #advance(map: ShardMap, move: Move): Promise<void> {
    switch (move.step) {
      case 'copy':
        await this.#copy(map, move);
        return this.#next(map, move, 'switch');
      case 'switch':
        return this.#next(map, move, 'empty');
      case 'empty':
        await this.#empty(map, move);
        return this.#next(map, move, undefined);
      case 'undo':
        await this.#clear(this.#shard(move.to), map, 'undo');
        return this.#next(map, move, undefined);
    }
  }

  async #next(map: ShardMap, move: Move, step: MoveStep | undefined): Promise<void> {
    const next = withMove(map, step === undefined ? undefined : { ...move, step });
    const changed = await this.#replace(move.to, map, next);
    if (changed) this.#log.info({ ...move, next: step ?? 'done' }, 'a step of a move is done');
  }

  async #copy(map: ShardMap, { from, to }: Move): Promise<void> {
    const hashes = this.#hashes(map);
    const source = this.#shard(from);
    const target = this.#shard(to);
    const wanted = await this.#at(source, () => partitionNode(source.pool, hashes));
    const total = wanted.items + wanted.tombstones;
    const before = await this.#at(target, () => partitionNode(target.pool, hashes));
    let rows = before.items + before.tombstones;
    for (let copied = -1; copied !== 0; rows += copied) {
      this.#onProgress({ step: 'copy', rows, total });
      copied = await this.#at(target, () => this.#copyNext(source.pool, target.pool, map));
    }
    const found = await this.#at(target, () => partitionNode(target.pool, hashes));
    if (isDeepStrictEqual(found.weeks, wanted.weeks)) return;
    throw new MoveError(
      `The copy of partition ${this.#partition} is not what shard ${from} has: ${found.items} items and ${found.tombstones} tombstones against ${wanted.items} and ${wanted.tombstones}, by its Merkle tree. Nothing was switched. Give up with --undo, and look with \`tierline merkle verify\` whether the tree of ${from} fits its rows.`,
    );
  }

  /** Copies the next slice. What is there already tells where to go on. @returns how many rows; 0 at the end */
  #copyNext(source: Pool, target: Pool, map: ShardMap): Promise<number> {
    const hashes = this.#hashes(map);
    return inTransaction(target, async (db) => {
      await takeMoveLock(db);
      await holdMap(db, map, this.#partition);
      const slice = await nextSlice(source, hashes, await reachedPlace(db, hashes));
      if (slice !== undefined) return copySlice(source, db, slice);
      await copyRangeMarks(source, db, hashes);
      return 0;
    });
  }

  async #empty(map: ShardMap, { from, to }: Move): Promise<void> {
    const source = this.#shard(from);
    const target = this.#shard(to);
    const count = map.owners.length;
    for (let moved = -1; moved !== 0; ) {
      moved = await this.#at(source, () => moveDeadLetters(source.pool, target.pool, this.#partition, count));
    }
    await this.#clear(source, map, 'empty');
  }

  /** Deletes everything of the partition from a shard that does not have it by the map. */
  async #clear(shard: Shard, map: ShardMap, step: MoveStep): Promise<void> {
    const hashes = this.#hashes(map);
    const { items, tombstones } = await this.#at(shard, () => partitionNode(shard.pool, hashes));
    const total = items + tombstones;
    let rows = 0;
    let place = firstPlace(hashes);
    for (;;) {
      if (total > 0) this.#onProgress({ step, rows, total });
      const slice = await this.#at(shard, () => nextSlice(shard.pool, hashes, place));
      if (slice === undefined) break;
      rows += await this.#at(shard, () =>
        inTransaction(shard.pool, async (db) => {
          await holdMap(db, map, this.#partition);
          return removeSlice(db, slice);
        }),
      );
      place = placeAfter(slice);
    }
    await this.#at(shard, () =>
      inTransaction(shard.pool, async (db) => {
        await holdMap(db, map, this.#partition);
        await removeNotes(db, this.#partition, hashes);
      }),
    );
  }

  #hashes(map: ShardMap): PartitionHashes {
    return hashSpanOf(this.#partition, map.owners.length);
  }

  #shard(name: string): Shard {
    return shardNamed(this.#shards, name);
  }

  #replace(name: string, before: ShardMap, map: ShardMap): Promise<boolean> {
    return replaceMap(this.#shards, name, before, map);
  }

  /** @throws TierUnavailableError that names the shard */
  #at<T>(shard: Shard, work: () => Promise<T>): Promise<T> {
    return this.#shards.named(shard, () => readL3(work));
  }
}
