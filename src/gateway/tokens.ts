import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '../errors.ts';
import type { GatewayToken } from '../gateway-tokens.ts';

/** 256 bits: nobody guesses it, so a plain hash of it is safe to keep. */
const TOKEN_BYTES = 32;

export function makeToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

export function hashToken(token: string): string {
  return digestOf(token).toString('hex');
}

/** The tokens that requests may carry. */
export class Tokens {
  readonly #known: readonly { readonly digest: Buffer; readonly token: GatewayToken }[];

  /** @throws ConfigError when there is none: there is no default, and no open gateway */
  constructor(tokens: readonly GatewayToken[]) {
    if (tokens.length === 0) {
      throw new ConfigError(
        'The gateway has no tokens, so it does not start. Make one with `tierline gateway token` and set TIERLINE_GATEWAY_TOKENS to the entry that it prints.',
      );
    }
    this.#known = tokens.map((token) => ({ digest: Buffer.from(token.hash, 'hex'), token }));
  }

  /** The token of an `Authorization: Bearer …` header. All are compared, so the time tells nothing about them. */
  find(authorization: string | undefined): GatewayToken | undefined {
    const given = /^Bearer ([^\s]+)$/i.exec(authorization ?? '')?.[1];
    if (given === undefined) return undefined;
    const digest = digestOf(given);
    let found: GatewayToken | undefined;
    for (const known of this.#known) if (timingSafeEqual(known.digest, digest)) found = known.token;
    return found;
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
