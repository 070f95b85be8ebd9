import { pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { repair } from '../merkle/repair.ts';
import type { RepairResult } from '../types/merkle.ts';
import { type ConfiguredPeer, configuredPeers } from './configured-peers.ts';
import { LazyPeer } from './local-peer.ts';

/** Hears how comparisons with peers end; it must not throw. */
export interface PeerObserver {
  /** @param bytes of requests and answers */
  compared(peer: string, result: RepairResult, bytes: number): void;
  /** The peer could not be asked, or was refused. */
  failed(peer: string): void;
}

export interface Following {
  close(): Promise<void>;
}

/** What differs is looked at again after this time. Only what differs in the same way twice is repaired. */
const RECHECK_MS = 1000;

/**
 * Compares this deployment with its peers again and again, and repairs both sides where they differ. It is no chore of the maintenance
 * queue, which runs one at a time: the first repair of a large store takes long. Several processes that follow do the same work
 * twice and no harm.
 * @throws ConfigError when a peer has no token
 */
export function follow(config: Config, log: Logger, observer: PeerObserver): Following {
  const peers = configuredPeers(config);
  const own = new LazyPeer(config, log);
  const stopping = new AbortController();
  const { signal } = stopping;
  const follows = peers.map(async (one) => {
    while (!signal.aborted) {
      await compare(own, one, log, observer, signal).catch((error: unknown) => {
        if (signal.aborted) return;
        observer.failed(one.name);
        log.warn({ err: error, peer: one.name }, 'the comparison with a peer failed; it is tried again');
      });
      await pause(config.peerEveryMs, { signal });
    }
  });
  return {
    async close() {
      stopping.abort();
      // A request under way ends with its connection.
      for (const { peer } of peers) peer.close();
      await Promise.all(follows);
      await own.close();
    },
  };
}

async function compare(
  own: LazyPeer,
  { name, peer }: ConfiguredPeer,
  log: Logger,
  observer: PeerObserver,
  signal: AbortSignal,
): Promise<void> {
  const before = peer.traffic.bytes;
  const result = await repair(await own.open(), peer, { recheckMs: RECHECK_MS, signal });
  observer.compared(name, result, peer.traffic.bytes - before);
  const { equal, reason, left, pulled, pushed, refused } = result;
  const facts = { peer: name, equal, reason, left, pulled, pushed, refused: refused.length };
  if (refused.length > 0) log.warn({ ...facts, first: refused[0] }, 'a peer has rows that were refused');
  else if (pulled.rows + pushed.rows > 0) log.info(facts, 'repaired what differed from a peer');
}
