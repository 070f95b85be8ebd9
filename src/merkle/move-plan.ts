import type { MerkleDifference, Registers, RepairPeer } from '../types/merkle.ts';
import { hasNewer, registersById } from './registers.ts';
import { weekOf } from './tombstone-weeks.ts';

/** Ids whose rows go each way; an id may be in both. */
export interface MovePlan {
  readonly pull: readonly string[];
  readonly push: readonly string[];
}

/**
 * Decides which way rows go that the sides list with other digests, or that one side lists alone. Mostly the other side has no row
 * then: it is asked, the row goes there, and the side that has it is not asked.
 * @param onlyOfWeek leaves out rows that are counted in another week (`weekOf`)
 */
export async function planMoves(
  here: RepairPeer,
  there: RepairPeer,
  found: readonly MerkleDifference[],
  onlyOfWeek?: number,
): Promise<MovePlan> {
  const ask = (side: RepairPeer, which: (one: MerkleDifference) => boolean) =>
    registersById(
      side,
      found.filter(which).map(({ id }) => id),
    );
  const [own, others] = await Promise.all([
    ask(here, (one) => one.there !== undefined),
    ask(there, (one) => one.here !== undefined),
  ]);
  const isMissingHere = ({ id, here: listed }: MerkleDifference) => listed === undefined && !own.has(id);
  const isMissingThere = ({ id, there: listed }: MerkleDifference) => listed === undefined && !others.has(id);
  // A row that one side lists alone may be a tombstone on the other, or have come there meanwhile: then the newer one wins.
  const [moreOwn, moreOthers] = await Promise.all([
    ask(here, (one) => one.there === undefined && !isMissingThere(one)),
    ask(there, (one) => one.here === undefined && !isMissingHere(one)),
  ]);
  const ofHere = ({ id }: MerkleDifference): Registers | undefined => own.get(id) ?? moreOwn.get(id);
  const ofThere = ({ id }: MerkleDifference): Registers | undefined => others.get(id) ?? moreOthers.get(id);
  const counted = found.filter(
    (one) =>
      onlyOfWeek === undefined ||
      isMissingHere(one) ||
      isMissingThere(one) ||
      weekOf(ofHere(one), ofThere(one)) === onlyOfWeek,
  );
  const idsOf = (which: (one: MerkleDifference) => boolean) => counted.filter(which).map(({ id }) => id);
  return {
    pull: idsOf((one) => isMissingHere(one) || hasNewer(ofThere(one), ofHere(one))),
    push: idsOf((one) => isMissingThere(one) || hasNewer(ofHere(one), ofThere(one))),
  };
}
