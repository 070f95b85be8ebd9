import { repairPeers } from '../merkle/repair.ts';
import { repairOptionsOf } from '../schema/options.ts';
import type { RepairOptions, RepairPeer, RepairResult } from '../types/merkle.ts';

/**
 * Makes two deployments equal: each row's registers go, with their own stamps, to the side that has older ones. What is newer stays.
 * Call it again when it was cut off: it finds what still differs.
 * @param here what `openLocalPeer` gave, or `openPeer`
 * @param there the other side
 * @throws PeerRefusedError when they cannot be compared, InvalidItemError, the signal's reason, and what the sides throw
 */
export async function repair(
  here: RepairPeer,
  there: RepairPeer,
  options?: RepairOptions,
): Promise<RepairResult> {
  const parsed = repairOptionsOf(options);
  parsed.signal?.throwIfAborted();
  return repairPeers(here, there, parsed);
}
