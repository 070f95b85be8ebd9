import { abortable, pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import { PeerUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { comparePeers } from '../merkle/compare.ts';
import type { PeerComparison } from '../schema/peer.ts';
import { configuredPeer } from './configured-peers.ts';
import { connectLocalPeer } from './local-peer.ts';

/** Differences told of one comparison. */
const MAX_ROWS = 100;
/** A write takes less to reach the other side when that follows this one. */
const RECHECK_MS = 1000;
/** The chores of maintenance wait meanwhile, so a comparison of much lists no further rows after this time. */
const LIST_MS = 20_000;
/** A peer that accepts requests and does not answer must not hold up the chores. */
const ANSWER_MS = 60_000;

/**
 * Compares this deployment with a peer of `TIERLINE_PEERS`, and moves nothing.
 * @throws ConfigError when there is no such peer or it has no token; PeerRefusedError, PeerUnavailableError, TierUnavailableError,
 *   QueueUnavailableError, or the signal's reason
 */
export async function compareWithPeer(
  config: Config,
  log: Logger,
  name: string,
  stopping: AbortSignal,
): Promise<PeerComparison> {
  const { peer } = configuredPeer(config, name);
  const late = AbortSignal.timeout(ANSWER_MS);
  const signal = AbortSignal.any([stopping, late]);
  const own = await connectLocalPeer(config, log);
  try {
    const recheck = () => pause(RECHECK_MS, { signal });
    const limits = { rows: MAX_ROWS, ms: LIST_MS, pause: recheck };
    return await abortable(comparePeers(own, peer, limits), signal);
  } catch (error) {
    if (stopping.aborted || !late.aborted) throw error;
    throw new PeerUnavailableError(peer.url, `it did not answer within ${ANSWER_MS / 1000} s`, {
      cause: error,
    });
  } finally {
    // Ends a request under way.
    peer.close();
    await own.close();
  }
}
