import type { Stamp } from '../clock.ts';
import type { Coherence } from './coherence.ts';

/** The coherence of all lanes, one a partition, each with its own feed. */
export class LaneCoherence {
  readonly #lanes: readonly Coherence[];

  constructor(lanes: readonly Coherence[]) {
    this.#lanes = lanes;
  }

  /** How often all of L1 was dropped for the ids of a partition. */
  get flushes(): number {
    return this.#lanes.reduce((sum, { flushes }) => sum + flushes, 0);
  }

  /** A write of this process has settled. What is noted of it is shared by all lanes. */
  ownSettled(id: string, contentVersion: Stamp, stateVersion: Stamp): void {
    this.#lanes[0]?.ownSettled(id, contentVersion, stateVersion);
  }

  close(): void {
    for (const lane of this.#lanes) lane.close();
  }
}
