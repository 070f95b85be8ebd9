import { z } from 'zod';
import { integer, milliseconds, option } from './option.ts';

/** Another deployment that this one keeps itself equal to. */
export interface PeerOption {
  readonly name: string;
  readonly url: string;
}

const NAME = /^[\w.-]{1,40}$/;
const named = z
  .string()
  .regex(NAME, 'has a name that is not 1 to 40 letters, digits, dots, dashes or underscores');

const peer = z.strictObject({
  name: named,
  url: z.string().superRefine((value, context) => {
    const fault = peerUrlFault(value);
    if (fault !== undefined) context.addIssue(`has a URL that ${fault}`);
  }),
});
const token = z.strictObject({ name: named, token: z.string().min(1, 'has no token') });

/** Why a URL cannot be that of a peer. Pages and messages show the URLs of peers, so they must hold no secret. */
export function peerUrlFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    return 'does not begin with https:// or http://';
  const { username, password, search, hash } = url;
  return username + password + search + hash === ''
    ? undefined
    : 'holds a user, a password, a query or a fragment; the token of a peer is given for itself';
}

/** Entries `name=value` with commas between them, in code also an array. Messages name an entry by its number: a value may be a secret. */
function list<T extends { readonly name: string }>(entry: z.ZodType<T>, valueKey: string) {
  const parse = (text: string): unknown[] =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map((part) => {
        const at = part.indexOf('=');
        return { name: part.slice(0, Math.max(0, at)), [valueKey]: part.slice(at + 1) };
      });
  return z.union([z.string().transform(parse), z.array(z.unknown())]).transform((entries, context): T[] => {
    const found: T[] = [];
    entries.forEach((one, i) => {
      const { data, error } = entry.safeParse(one);
      const isTaken = found.some(({ name }) => name === data?.name);
      if (error !== undefined) context.addIssue(`entry ${i + 1} ${error.issues[0]?.message}`);
      else if (isTaken) context.addIssue(`entry ${i + 1} has the name of an entry before it`);
      else found.push(data);
    });
    return found;
  });
}

/** `eu=https://eu.example.com,us=https://us.example.com` */
const peerList = list<PeerOption>(peer, 'url');
/** `eu=TOKEN,us=TOKEN` */
const peerTokenList = list<{ readonly name: string; readonly token: string }>(token, 'token');

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
    milliseconds(100).default(10_000),
  ),
  maxClockSkewMs: option(
    'TIERLINE_MAX_CLOCK_SKEW_MS',
    'ms',
    'How far the stamps of a row from another deployment may be ahead of the clock here; rows beyond are refused.',
    integer(0).default(60_000),
  ),
} as const;
