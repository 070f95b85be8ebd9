import type { Row } from '../batch/fold.ts';
import { stampToMs, UNWRITTEN } from '../clock.ts';
import { type Digester, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import { readRows } from '../postgres/read-items.ts';
import { LOOK_MS } from '../redis/cache-session.ts';
import type { Settlement } from '../redis/in-flight.ts';
import { CacheUnknownError, type CopyFate } from '../redis/item-store.ts';
import { type Lifetimes, type StoredEntry, storedEntry } from '../redis/stored-entry.ts';
import { isNewerContent, isSameContent } from '../schema/register-order.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { CopyStore, Look } from '../tiers/tier.ts';
import { untilDone, settle, type WriterParts } from './writer-parts.ts';

/** The rows that a batch wrote. */
export interface WrittenRows {
  readonly rows: readonly Row[];
  readonly differing: ReadonlyMap<string, RowNow>;
  /** No row was there before, so L2 probably has no copy of any. */
  readonly allNew: boolean;
}

export interface Copied {
  /** The generation in which the copies were written; undefined when there were none. */
  readonly generation: string | undefined;
  /** For each row of L2 alone, whether a newer one has won. */
  readonly superseded: readonly boolean[];
}

/**
 * A copy to make from the row in Postgres. `row`: what the batch writes to the id; undefined when the content is another
 * batch's.
 */
interface Target {
  readonly id: string;
  readonly row?: Row;
}

/**
 * How often Postgres is read again because a look was too old. Then the copies are dropped, so that readers ask L3, and the
 * batch settles.
 */
const MAX_LOOKS = 4;
/** Rows of one look. A busy server reads and writes so many before the look gets too old. */
const LOOK_ROWS = 500;

/**
 * Writes the L2 copies of every row that a batch changed, and of rows for L2 alone.
 * @param look taken before the batch's statement was sent; undefined: look again
 * @throws CacheUnknownError when the generation of the cache is not known, or changed meanwhile: the copies may lie in both
 */
export async function copyRows(
  parts: WriterParts,
  look: Look | undefined,
  { rows, differing, allNew }: WrittenRows,
  cacheRows: readonly Row[] = [],
): Promise<Copied> {
  const { items, digester, config, observer } = parts;
  const own = rows.filter((row) => ownsContent(row, differing.get(row.id)));
  // Their content is another batch's, and that batch may not have written its copies yet. An older copy must not stay once ours
  // has settled.
  const others = rows.filter((row) => !ownsContent(row, differing.get(row.id)));
  const [recent, old] = look === undefined ? [[], cacheRows] : byAge(cacheRows, look);
  if (own.length + others.length + cacheRows.length === 0) return { generation: undefined, superseded: [] };

  const session = knownSession(parts);
  const superseded = new Set<Row>();
  const first = [...own, ...recent];
  const entries = [
    ...own.map((row) => copyOfRow(row, differing.get(row.id), digester, config)),
    ...recent.map((row) => copyOfRow(row, undefined, digester, config)),
  ];
  const fates = await items.setNewer(entries, look, allNew);
  const late = first.filter((_, i) => fates[i] === 'late');
  if (late.length > 0) observer.copiesLate(late.length);
  noteDropped(parts, fates);
  for (let i = own.length; i < first.length; i++) if (fates[i] === 'newer') superseded.add(first[i] as Row);
  await copyFromPostgres(
    parts,
    [...others.map(({ id }) => ({ id })), ...[...late, ...old].map((row) => ({ id: row.id, row }))],
    superseded,
  );
  if (items.session !== session) throw new CacheUnknownError();
  return {
    generation: session.copies.generation,
    superseded: cacheRows.map((row) => superseded.has(row)),
  };
}

/** Writes the L2 copies of rows that it reads from Postgres. @throws as `copyRows` */
export async function copyStoredRows(parts: WriterParts, ids: readonly string[]): Promise<Copied> {
  const session = knownSession(parts);
  await copyFromPostgres(
    parts,
    ids.map((id) => ({ id })),
    new Set(),
  );
  if (parts.items.session !== session) throw new CacheUnknownError();
  return { generation: session.copies.generation, superseded: [] };
}

/**
 * Writes copies and then settles. It does both again when the generation of the cache changed in between, because readers do
 * not see copies of the old one.
 * @param copy is told whether the look from before the statement may be used
 */
export async function copyAndSettle(
  parts: WriterParts,
  copy: (isFirst: boolean) => Promise<Copied>,
  settlementOf: (copied: Copied) => Settlement,
): Promise<number> {
  for (let isFirst = true; ; isFirst = false) {
    const copied = await untilDone(parts, 'l2', () => copy(isFirst));
    const atMs = await settle(parts, { ...settlementOf(copied), generation: copied.generation });
    if (atMs !== undefined) return atMs;
  }
}

/**
 * Rows for L2 alone are in no statement. A recent one needs no look: whatever is newer was written after it. An older one may
 * belong to a worker that was stopped or a chunk that waited. A newer row may exist whose copy is gone again, so look for it.
 */
function byAge(cacheRows: readonly Row[], look: Look): [recent: Row[], old: Row[]] {
  const since = look.at - LOOK_MS;
  const isRecent = (row: Row) => stampToMs(Math.max(row.contentVersion, row.stateVersion)) > since;
  return [cacheRows.filter(isRecent), cacheRows.filter((row) => !isRecent(row))];
}

function knownSession({ items }: WriterParts): NonNullable<CopyStore['session']> {
  if (items.session === undefined) throw new CacheUnknownError();
  return items.session;
}

/**
 * Reads rows from Postgres and writes their copies, again for those whose look was too old.
 * @param superseded takes the rows of L2 alone that lost
 */
async function copyFromPostgres(
  parts: WriterParts,
  targets: readonly Target[],
  superseded: Set<Row>,
): Promise<void> {
  let open = targets;
  for (let looks = 0; open.length > 0; looks++) {
    if (looks === MAX_LOOKS) return drop(parts, open);
    const late: Target[] = [];
    for (let at = 0; at < open.length; at += LOOK_ROWS) {
      late.push(...(await lookAndCopy(parts, open.slice(at, at + LOOK_ROWS), superseded)));
    }
    open = late;
  }
}

/** Returns the targets whose look was too old. */
async function lookAndCopy(
  parts: WriterParts,
  targets: readonly Target[],
  superseded: Set<Row>,
): Promise<Target[]> {
  const { partition, items, digester, config } = parts;
  const look = items.look();
  const ids = targets.map(({ id }) => id);
  const stored = await partition.read((db) => readRows(db, ids));
  const nowById = new Map(stored.map((item) => [item.id, item]));
  const gone: Target[] = [];
  const written: Target[] = [];
  const entries: StoredEntry[] = [];
  for (const target of targets) {
    const { id, row } = target;
    const now = nowById.get(id);
    if (row?.tiers === 'cache') {
      if (now !== undefined && isNewerContent(rowNow(now), row)) superseded.add(row);
      else {
        written.push(target);
        entries.push(copyOfRow(row, undefined, digester, config));
      }
    } else if (now === undefined) {
      gone.push(target);
    } else {
      written.push(target);
      // Its own write knows how long the copy is to live; the row does not.
      entries.push(
        row !== undefined && isSameContent(row, rowNow(now))
          ? copyOfRow(row, rowNow(now), digester, config)
          : storedEntry(now, config),
      );
    }
  }
  // The row was purged meanwhile: an older copy must not stay.
  if (gone.length > 0) await items.drop(gone.map(({ id }) => id));
  const fates = await items.setNewer(entries, look);
  noteDropped(parts, fates);
  written.forEach(({ row }, i) => {
    if (row?.tiers === 'cache' && fates[i] === 'newer') superseded.add(row);
  });
  return written.filter((_, i) => fates[i] === 'late');
}

async function drop({ items, observer, log }: WriterParts, targets: readonly Target[]): Promise<void> {
  log.warn(
    { copies: targets.length, looks: MAX_LOOKS },
    'every look at Postgres took too long; L2 copies dropped',
  );
  await items.drop(targets.map(({ id }) => id));
  observer.copiesDropped(targets.length);
}

function noteDropped({ observer, log }: WriterParts, fates: readonly CopyFate[]): void {
  const dropped = fates.filter((fate) => fate === 'dropped').length;
  if (dropped === 0) return;
  log.warn({ copies: dropped }, 'the cache took no copies of some items; readers find them in Postgres');
  observer.copiesDropped(dropped);
}

function rowNow({ id, contentVersion, stateVersion, state, kind, contentHash }: StoredItem): RowNow {
  return { id, contentVersion, stateVersion, state, deleted: kind === 'deleted', contentHash };
}

/** The L2 copy of a row whose content this batch wrote; its state may be another batch's (`now`). */
export function copyOfRow(
  row: Row,
  now: RowNow | undefined,
  digester: Digester,
  lifetimes: Lifetimes,
): StoredEntry {
  const stateVersion = now?.stateVersion ?? row.stateVersion;
  const state = now?.state ?? row.state;
  const stateDigest =
    now === undefined
      ? row.stateDigest
      : stateVersion === UNWRITTEN
        ? ZERO_DIGEST
        : digester.state(row.id, stateVersion, state);
  return storedEntry(
    {
      id: row.id,
      kind: row.deleted ? 'deleted' : row.binary ? 'binary' : 'json',
      contentVersion: row.contentVersion,
      stateVersion,
      tiers: row.tiers,
      digest: xorDigests(row.contentDigest, stateDigest),
      contentHash: row.contentHash,
      state,
      body: row.body,
    },
    lifetimes,
    row.ttlMs,
  );
}

/** Whether the content is this batch's. Then the copy is made without reading the row. */
export function ownsContent(row: Row, now: RowNow | undefined): boolean {
  return now === undefined || (row.contentVersion > 0 && isSameContent(row, now));
}
