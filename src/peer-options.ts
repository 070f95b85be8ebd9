import { integer, option } from './option.ts';
import { peerList, peerTokenList } from './peer-list.ts';

/** Options about other deployments that this one is kept equal to: docs/peers.md. */
export const PEER_OPTIONS = {
  peers: option(
    'TIERLINE_PEERS',
    'list',
    'Deployments that maintenance keeps this one equal to, by the URLs of their gateways: `eu=https://…` with commas between them ([docs/peers.md](docs/peers.md)).',
    peerList.default([]),
  ),
  peerTokens: option(
    'TIERLINE_PEER_TOKENS',
    'list',
    'The token for the gateway of each peer, with the scope `peer`: `eu=…` with commas between them.',
    peerTokenList.default([]),
  ),
  peerEveryMs: option(
    'TIERLINE_PEER_EVERY_MS',
    'ms',
    'How often maintenance compares this deployment with its peers.',
    integer(100).default(10_000),
  ),
  maxClockSkewMs: option(
    'TIERLINE_MAX_CLOCK_SKEW_MS',
    'ms',
    'How far the stamps of a row from another deployment may be ahead of the clock here; rows beyond are refused.',
    integer(0).default(60_000),
  ),
} as const;
