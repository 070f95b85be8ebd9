import type { Config } from '../config.ts';
import { ConfigError } from '../errors.ts';
import { openPeer, type RemotePeer } from './http-peer.ts';

/** A peer of `TIERLINE_PEERS`. */
export interface ConfiguredPeer {
  readonly name: string;
  readonly peer: RemotePeer;
}

type PeerConfig = Pick<Config, 'peers' | 'peerTokens'>;

/** @throws ConfigError when one has no token */
export function configuredPeers({ peers, peerTokens }: PeerConfig): ConfiguredPeer[] {
  return peers.map(({ name, url }) => {
    const entry = peerTokens.find((one) => one.name === name);
    if (entry === undefined) {
      throw new ConfigError(
        `The peer ${name} of TIERLINE_PEERS has no token. Add ${name}=… to TIERLINE_PEER_TOKENS, with a token of the scope peer that its gateway knows.`,
      );
    }
    return { name, peer: openPeer(url, { token: entry.token }) };
  });
}

/** The peer of this name or URL. @throws ConfigError */
export function configuredPeer(config: PeerConfig, nameOrUrl: string): ConfiguredPeer {
  const found = config.peers.find(({ name, url }) => name === nameOrUrl || url === nameOrUrl);
  if (found === undefined) {
    throw new ConfigError(
      `There is no such peer. Name one of TIERLINE_PEERS, or its URL as it stands there: ${config.peers.map(({ name }) => name).join(', ') || 'none is set'}.`,
    );
  }
  return configuredPeers({ ...config, peers: [found] })[0] as ConfiguredPeer;
}
