import { randomUUID } from 'node:crypto';
import { emptyRow, type Row, sealed } from '../batch/fold.ts';
import { type Stamp, UNWRITTEN } from '../clock.ts';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Digester } from '../merkle/digest.ts';
import { applyRows } from '../postgres/apply-batch.ts';
import { digestsOfIds } from '../postgres/all-items.ts';
import { failureKind, type Queryable } from '../postgres/pool.ts';
import { holdRanges, rangeCover } from '../postgres/range-deletes.ts';
import type { RowDigest } from '../postgres/read-items.ts';
import type { PartitionRows } from '../postgres/shards.ts';
import { forgetReplay, noteReplay } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import { copyKeysOf, type CopyValue, forgetLost, readCopies } from '../redis/copies.ts';
import { settleBatch } from '../redis/in-flight.ts';
import { CacheUnknownError } from '../redis/item-store.ts';
import { toFeedChanges } from '../schema/feed.ts';
import { replayChunkId } from '../schema/job.ts';
import { type StoredItem, versionOf } from '../schema/stored-item.ts';
import { decodedCopy, dropCopies, judgeCopy, refreshCopies, type RepairParts } from './copy-repair.ts';

export interface LostWriteParts extends RepairParts {
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  readonly lanes: Lanes;
  readonly digester: Digester;
  readonly config: Config;
}

/** A settled write that L2 has and Postgres has not. */
export interface LostWrite extends CopyValue {
  readonly copy: StoredItem;
  /** The older row; undefined when there is none. */
  readonly row: RowDigest | undefined;
}

/** Those of `ids` whose L2 copy is newer than their row. @throws TierUnavailableError, SchemaMissingError */
export async function lostWrites(parts: LostWriteParts, ids: readonly string[]): Promise<LostWrite[]> {
  const lost: LostWrite[] = [];
  for await (const values of copiesOf(parts, ids)) {
    lost.push(...(await lostAmong(parts, values)));
  }
  return lost;
}

/** The copies of `ids`, a bounded number of bytes at a time. @throws CacheUnknownError */
export function copiesOf(
  { cache, items }: Pick<LostWriteParts, 'cache' | 'items'>,
  ids: readonly string[],
): AsyncGenerator<CopyValue[]> {
  const { session } = items;
  if (session === undefined) throw new CacheUnknownError();
  return readCopies(cache, copyKeysOf(session.copies, ids));
}

/** @param values read before this is called. A copy is written after its row, so a row that is older now has lost the write. */
export async function lostAmong(
  { shards, lanes, digester, config }: LostWriteParts,
  values: readonly CopyValue[],
): Promise<LostWrite[]> {
  const rows = await digestsOfIds(
    shards,
    lanes,
    values.map(({ id }) => id),
  );
  return values.flatMap((value) => {
    const copy = decodedCopy(value);
    const row = rows.get(value.id);
    const isLost = judgeCopy(copy, row, digester, purgedBelow(config)) === 'newer';
    return copy !== undefined && isLost ? [{ ...value, copy, row }] : [];
  });
}

/** Tombstones with an older stamp may have been purged. */
export function purgedBelow({ purgeAfterMs }: Pick<Config, 'purgeAfterMs'>): Stamp {
  return (Date.now() - purgeAfterMs) * 1000;
}

/**
 * Whether a later range delete covers a lost write, which must then not come back (I4). `unclear`: later writes hide what the
 * range would have found.
 */
type LostCover = 'covered' | 'free' | 'unclear';

/** @throws TierUnavailableError, SchemaMissingError */
export function coverOf(
  { shards, lanes }: Pick<LostWriteParts, 'shards' | 'lanes'>,
  copy: StoredItem,
): Promise<LostCover> {
  return shards.rowsOf(lanes.of(copy.id)).read((db) => coverIn(db, copy));
}

async function coverIn(db: Queryable, copy: StoredItem): Promise<LostCover> {
  const { id, kind, contentVersion, stateVersion, state } = copy;
  if (kind === 'deleted') return 'free';
  const stamp = contentVersion === UNWRITTEN ? stateVersion : contentVersion;
  const cover = await rangeCover(db, id, stamp, state);
  if (cover === 'free') return 'free';
  return cover === 'covered' && stateVersion <= stamp ? 'covered' : 'unclear';
}

/**
 * `restored`: the write is in Postgres again. `superseded`: a newer write or a later range delete has won. `agrees`: the row is
 * not older than the copy. `gone`: L2 has no copy any more. `discarded`: the write is given up, and L2 has the row of Postgres.
 * `refused`: it cannot be restored, see the reason. `busy`: a range delete is running; try again when it has settled.
 */
export interface LostOutcome {
  readonly id: string;
  readonly status: 'restored' | 'superseded' | 'agrees' | 'gone' | 'discarded' | 'refused' | 'busy';
  readonly reason?: string;
}

/**
 * Writes lost writes back to Postgres. When Postgres fails over to a replica that lagged, L2 may be the only place that still
 * has a settled write. It is written with its old stamps by the statement that every batch uses. So it never undoes a newer
 * write (I4), and restoring it twice changes nothing (I2). Both registers are written as the copy has them, so the row, its
 * digest and the tree are as before the failover.
 * @returns the outcome of each id
 * @throws TierUnavailableError, SchemaMissingError, and what Redis answers when it cannot be asked
 */
export function restoreCopies(parts: LostWriteParts, ids: readonly string[]): Promise<LostOutcome[]> {
  return settleLost(parts, ids, restoreAll);
}

/**
 * Gives lost writes up: L2 gets the rows of Postgres. A process that has such a write in L1 keeps it until that entry expires.
 * @throws as `restoreCopies`
 */
export function discardCopies(parts: LostWriteParts, ids: readonly string[]): Promise<LostOutcome[]> {
  return settleLost(parts, ids, async (_, lost) => {
    await replaceByRows(parts, lost);
    return lost.map(({ id }) => ({ id, status: 'discarded' }));
  });
}

type Act = (parts: LostWriteParts, lost: readonly LostWrite[]) => Promise<LostOutcome[]>;

/** Acts on the writes that are still lost, and takes those that are done off the list. */
async function settleLost(parts: LostWriteParts, ids: readonly string[], act: Act): Promise<LostOutcome[]> {
  const { queue, lanes } = parts;
  const outcomes = new Map<string, LostOutcome>(ids.map((id) => [id, { id, status: 'gone' }]));
  for await (const values of copiesOf(parts, ids)) {
    for (const { id } of values) outcomes.set(id, { id, status: 'agrees' });
    const lost = await lostAmong(parts, values);
    if (lost.length === 0) continue;
    for (const outcome of await act(parts, lost)) outcomes.set(outcome.id, outcome);
  }
  const all = [...outcomes.values()];
  const done = all.filter(({ status }) => status !== 'refused' && status !== 'busy');
  await forgetLost(
    queue,
    lanes.home,
    done.map(({ id }) => id),
  );
  return all;
}

async function restoreAll(parts: LostWriteParts, lost: readonly LostWrite[]): Promise<LostOutcome[]> {
  const outcomes: LostOutcome[] = [];
  await parts.lanes.each(
    lost,
    ({ id }) => id,
    async (keys, ofLane) => outcomes.push(...(await restoreGroup(parts, keys, ofLane))),
  );
  return outcomes;
}

/**
 * Restores writes of one lane. Notes them as in flight, so that readers and range deletes wait for them. The note has no job, so
 * it is swept when Postgres is slow. What keeps range deletes out is a lock in Postgres.
 */
async function restoreGroup(
  parts: LostWriteParts,
  keys: Keys,
  lost: readonly LostWrite[],
): Promise<LostOutcome[]> {
  const { queue, config } = parts;
  const chunkId = replayChunkId(randomUUID());
  const stamps = lost.map(({ id, copy }) => ({ id, stamp: versionOf(copy) }));
  if ((await noteReplay(queue, keys, chunkId, stamps)) === undefined) {
    return lost.map(({ id }) => ({ id, status: 'busy', reason: 'a range delete is at work' }));
  }
  try {
    const outcomes = await applyLost(parts, lost);
    const changed = lost.filter((_, i) => outcomes[i]?.status !== 'refused');
    const rows = await replaceByRows(parts, changed);
    await settleBatch(
      queue,
      keys,
      {
        jobs: [{ chunkId, operations: lost.length, outcome: {} }],
        changes: toFeedChanges([...rows].map(([id, row]) => ({ ...row, id }))),
        newest: stamps.map(({ id, stamp }) => [id, stamp]),
      },
      config.feedMaxEntries,
    );
    return outcomes;
  } catch (error) {
    await forgetReplay(queue, keys, chunkId, stamps).catch(() => undefined);
    throw error;
  }
}

/** Writes all that may come back. Returns outcomes in the order of `lost`. */
async function applyLost(parts: LostWriteParts, lost: readonly LostWrite[]): Promise<LostOutcome[]> {
  const { shards, lanes, digester, config } = parts;
  // They are of one lane.
  const partition = shards.rowsOf(lanes.of(lost[0]?.id ?? ''));
  const barred = lost.map((write) => whyNever(config, write));
  const others = lost.filter((_, i) => barred[i] === undefined);
  const applied = await applyEach(partition, digester, others);
  const byId = new Map(applied.map((outcome) => [outcome.id, outcome]));
  return lost.map(({ id }, i) => barred[i] ?? (byId.get(id) as LostOutcome));
}

/** Why a write must not come back whatever Postgres has, as its outcome. */
function whyNever({ purgeAfterMs }: Config, { id, copy }: LostWrite): LostOutcome | undefined {
  if (copy.kind === 'fence') {
    const reason =
      "its content was never in L2 (`tiers: 'durable'`): submit the item again, or discard the lost write";
    return { id, status: 'refused', reason };
  }
  // Tombstones of that time may have been purged, so this could bring back an item that was deleted since.
  if (versionOf(copy) < (Date.now() - 0.9 * purgeAfterMs) * 1000) {
    const reason = 'older than the purge horizon: submit the item again, or discard the lost write';
    return { id, status: 'refused', reason };
  }
  return undefined;
}

/** Why range deletes keep a write from coming back, as its outcome; undefined when they do not. */
async function whyNot(db: Queryable, { id, copy }: LostWrite): Promise<LostOutcome | undefined> {
  const cover = await coverIn(db, copy);
  if (cover === 'covered') return { id, status: 'superseded', reason: 'a later range delete covers it' };
  if (cover === 'free') return undefined;
  const reason =
    'a later range delete may have covered it, and a newer state hides whether it did: submit the item again, or discard the lost write';
  return { id, status: 'refused', reason };
}

function rowOf(copy: LostWrite['copy'], digester: Digester): Row {
  const { id, kind, contentVersion, stateVersion, contentHash, state, body } = copy;
  const deleted = kind === 'deleted';
  return sealed(
    {
      ...emptyRow(id),
      contentVersion,
      deleted,
      binary: kind === 'binary',
      body,
      contentHash,
      stateVersion,
      state,
    },
    digester,
  );
}

/** Writes all in one transaction, or one by one when Postgres refuses one of them. */
async function applyEach(
  partition: PartitionRows,
  digester: Digester,
  lost: readonly LostWrite[],
): Promise<LostOutcome[]> {
  if (lost.length === 0) return [];
  try {
    return await partition.transaction((db) => writeUncovered(db, digester, lost));
  } catch (error) {
    if (failureKind(error) !== 'data') throw error;
    if (lost.length === 1) return lost.map(({ id }) => ({ id, status: 'refused', reason: messageOf(error) }));
    const outcomes: LostOutcome[] = [];
    for (const write of lost) outcomes.push(...(await applyEach(partition, digester, [write])));
    return outcomes;
  }
}

/** Writes what no range delete covers. No range delete begins between the look and COMMIT (I4). @param db in a transaction */
async function writeUncovered(
  db: Queryable,
  digester: Digester,
  lost: readonly LostWrite[],
): Promise<LostOutcome[]> {
  await holdRanges(db);
  const outcomes: LostOutcome[] = [];
  const rows: Row[] = [];
  for (const write of lost) {
    const barred = await whyNot(db, write);
    if (barred === undefined) rows.push(rowOf(write.copy, digester));
    else outcomes.push(barred);
  }
  if (rows.length === 0) return outcomes;
  const { differing } = await applyRows(db, rows, randomUUID());
  for (const { id, contentVersion, stateVersion } of rows) {
    const now = differing.get(id);
    const isIn =
      now === undefined ||
      now.contentVersion === contentVersion ||
      (stateVersion > 0 && now.stateVersion === stateVersion);
    outcomes.push(
      isIn ? { id, status: 'restored' } : { id, status: 'superseded', reason: 'a newer write has won' },
    );
  }
  return outcomes;
}

/** Drop the copies first: a covered copy would keep the row's copy out. The new copies get a time to live again. */
async function replaceByRows(
  parts: LostWriteParts,
  writes: readonly LostWrite[],
): Promise<Map<string, RowDigest>> {
  const ids = writes.map(({ id }) => id);
  await dropCopies(parts, writes);
  await refreshCopies(parts, ids);
  return digestsOfIds(parts.shards, parts.lanes, ids);
}
