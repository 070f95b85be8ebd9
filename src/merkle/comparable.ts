import { PeerRefusedError } from '../errors.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import { isNewerContent, isNewerState } from '../schema/register-order.ts';
import type { PeerIdentity, Registers, RepairPeer } from '../types/merkle.ts';
import { firstWeekWithin } from './tombstone-weeks.ts';

/** What decides whether the digests of two deployments can be compared. */
export type Comparable = Omit<PeerIdentity, 'purgeAfterMs'>;

/** Below this share of the purge horizon tombstones are compared; older ones may be purged on one side already. */
const SAFE_SHARE = 0.9;

/** What a comparison that looks at tombstones too needs to know before it begins. */
export interface Admission {
  /** The other side's. */
  readonly deployment: string;
  /** The first week whose tombstones no side has purged. */
  readonly firstWeek: number;
}

/** @throws PeerRefusedError when the two must not be compared or repaired, and what the sides throw */
export async function admitPeer(here: RepairPeer, there: RepairPeer): Promise<Admission> {
  const [own, other] = await Promise.all([here.identity(), there.identity()]);
  checkComparable(own, other);
  const safeMs = SAFE_SHARE * Math.min(own.purgeAfterMs, other.purgeAfterMs);
  await checkApart(here, other.deployment, safeMs);
  return { deployment: other.deployment, firstWeek: firstWeekWithin(safeMs) };
}

/**
 * Refuses a peer that was apart for so long that tombstones were purged since. It may hold items that were deleted here meanwhile.
 * @throws PeerRefusedError
 */
async function checkApart(here: RepairPeer, deployment: string, safeMs: number): Promise<void> {
  const equalAt = await here.lastEqualAt?.(deployment);
  if (equalAt === undefined || Date.now() - equalAt <= safeMs) return;
  throw new PeerRefusedError(
    `The peer and this deployment were last equal on ${new Date(equalAt).toISOString()}, and tombstones since then may be purged: a repair could bring back what was deleted. Follow docs/peers.md, "Away for longer than the tombstones are kept".`,
  );
}

/**
 * Finds out first that two deployments cannot be compared. With other keys or schemes every item would look different.
 * @throws PeerRefusedError
 */
export function checkComparable(own: Comparable, other: Comparable): void {
  if (own.deployment === other.deployment)
    throw refusal('it is the same deployment; give the URL of the other one');
  if (own.protocol !== other.protocol) {
    throw refusal(
      `it speaks version ${other.protocol} of the peer protocol and this side ${own.protocol}; upgrade the older one`,
    );
  }
  if (own.scheme !== other.scheme) {
    throw refusal(
      `it makes digests by scheme ${other.scheme} and this side by ${own.scheme}; upgrade the older one`,
    );
  }
  if (own.keyCheck !== other.keyCheck) {
    throw refusal(
      'its digests have another key; give both sides the same TIERLINE_MERKLE_KEY, each from the first write on',
    );
  }
}

function refusal(reason: string): PeerRefusedError {
  return new PeerRefusedError(`The peer cannot be compared with this deployment: ${reason}.`);
}

/** What a side has of these ids. It is not asked for none. */
export async function registersById(
  side: RepairPeer,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Registers>> {
  const rows = ids.length === 0 ? [] : await side.registers(ids);
  return new Map(rows.map((row) => [row.id, row]));
}

/** Whether a register of `from` wins over that of `to`. Undefined: that side has no row. */
export function hasNewer(from: Registers | undefined, to: Registers | undefined): boolean {
  if (from === undefined) return false;
  const other = to ?? NO_ROW;
  return isNewerContent(from, other) || isNewerState(from, other);
}

const NO_ROW: Omit<Registers, 'id'> = {
  contentVersion: 0,
  deleted: true,
  contentHash: '',
  stateVersion: 0,
  state: DEFAULT_STATE,
};
