import { PeerRefusedError } from '../errors.ts';
import type { PeerIdentity } from '../types/merkle.ts';

/** What decides whether the digests of two deployments can be compared. */
export type Comparable = Omit<PeerIdentity, 'purgeAfterMs'>;

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
