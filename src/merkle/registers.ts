import { DEFAULT_STATE } from '../schema/item.ts';
import { isNewerContent, isNewerState } from '../schema/register-order.ts';
import type { Registers, RepairPeer } from '../types/merkle.ts';

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
