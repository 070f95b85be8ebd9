import type { PeerComparison, RowDifference } from '../schema/peer.ts';
import type { Registers, RepairPeer } from '../types/merkle.ts';
import { admitPeer, hasNewer, registersById } from './comparable.ts';
import { differingRows } from './diff.ts';
import { differingWeeks } from './tombstone-weeks.ts';

/** Ids whose registers are asked for at once. */
const BATCH_IDS = 500;

export interface CompareLimits {
  /** Most differences told. */
  readonly rows: number;
  /** Milliseconds after which no further page of rows is listed. */
  readonly ms: number;
  /** Waits before what differs is looked at again; only what differs in the same way twice is told. */
  readonly pause: () => Promise<void>;
}

/**
 * Finds the rows that two deployments do not agree on, tombstones too, and which side has what. Nothing is moved. When they agree it
 * is noted as a repair notes it.
 * @throws PeerRefusedError, and what the sides throw
 */
export async function comparePeers(
  here: RepairPeer,
  there: RepairPeer,
  limits: CompareLimits,
): Promise<PeerComparison> {
  const untilMs = performance.now() + limits.ms;
  const { deployment, firstWeek } = await admitPeer(here, there);
  const weeks = await differingWeeks(here, there, firstWeek);
  // A row that is live on one side and deleted on the other is found in both places.
  const found = new Map<string, RowDifference>();
  let equal = true;
  let cut = false;
  for await (const ids of differingBatches(here, there, weeks, limits.pause)) {
    cut = found.size > limits.rows || performance.now() > untilMs;
    if (cut) break;
    equal &&= ids.length === 0;
    for (const one of await differencesOf(here, there, ids)) found.set(one.id, one);
  }
  cut ||= found.size > limits.rows;
  equal &&= !cut;
  if (equal) await here.noteEqual?.(deployment);
  const differences = [...found.values()].slice(0, limits.rows).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return { deployment, equal, differences, cut };
}

/** Also empty ones: the caller looks at its limits after each page. */
async function* differingBatches(
  here: RepairPeer,
  there: RepairPeer,
  weeks: readonly number[],
  pause: () => Promise<void>,
): AsyncGenerator<readonly string[]> {
  for (const week of weeks) {
    for await (const found of differingRows(here, there, week, pause)) {
      const ids = found.map(({ id }) => id);
      for (let at = 0; at === 0 || at < ids.length; at += BATCH_IDS) yield ids.slice(at, at + BATCH_IDS);
    }
  }
}

/** Of the ids whose registers differ. Those that have become equal since they were listed are left out. */
async function differencesOf(
  here: RepairPeer,
  there: RepairPeer,
  ids: readonly string[],
): Promise<RowDifference[]> {
  const [own, others] = await Promise.all([registersById(here, ids), registersById(there, ids)]);
  return ids.flatMap((id) => differenceOf(id, own.get(id), others.get(id)) ?? []);
}

function differenceOf(
  id: string,
  here: Registers | undefined,
  there: Registers | undefined,
): RowDifference | undefined {
  const kind = kindOf(here, there);
  if (kind === undefined) return undefined;
  return { id, kind, ...(here && { here: sideOf(here) }), ...(there && { there: sideOf(there) }) };
}

function kindOf(
  here: Registers | undefined,
  there: Registers | undefined,
): RowDifference['kind'] | undefined {
  const isOlderHere = hasNewer(there, here);
  const isOlderThere = hasNewer(here, there);
  if (isOlderHere && isOlderThere) return 'older-both';
  if (isOlderHere) return here === undefined ? 'missing-here' : 'older-here';
  if (isOlderThere) return there === undefined ? 'missing-there' : 'older-there';
  return undefined;
}

function sideOf({ contentVersion, stateVersion, deleted }: Registers): RowDifference['here'] {
  return { version: Math.max(contentVersion, stateVersion), deleted };
}
