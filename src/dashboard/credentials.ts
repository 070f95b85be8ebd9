import { hkdfSync } from 'node:crypto';
import { ConfigError } from '../errors.ts';
import type { Config } from '../config.ts';
import { BearerToken } from '../health/http-server.ts';
import { verifyPassword } from '../password-hash.ts';

/** Each check takes 128 MiB for a moment: many sign-ins at once must not take the machine's memory. */
const MAX_CHECKS = 2;
const SESSION_KEY_BYTES = 32;

/** The two credentials a dashboard may have: a password's hash for people, a bearer token for programs. */
export class Credentials {
  /** Encrypts the cookies of sessions. All dashboards with the same credentials share it, so they share sessions too. */
  readonly sessionKey: Buffer;
  readonly #passwordHash: string | undefined;
  readonly #token: BearerToken | undefined;
  #checks = 0;

  /** @throws ConfigError when there is none: there is no default. */
  constructor(
    config: Pick<Config, 'dashboardPasswordHash' | 'dashboardToken' | 'dashboardHost' | 'namespace'>,
  ) {
    const { dashboardPasswordHash: hash, dashboardToken: token } = config;
    if (hash === undefined && token === undefined) {
      throw new ConfigError(
        `The dashboard has no credentials, so it does not listen on ${config.dashboardHost}. ` +
          'Make a password hash with `printf %s "$PASSWORD" | tierline dashboard --hash-password` and set ' +
          'TIERLINE_DASHBOARD_PASSWORD_HASH to it, or set TIERLINE_DASHBOARD_TOKEN to what `openssl rand -hex 32` prints, or both. ' +
          'An application that mounts the dashboard may pass `authenticate` instead.',
      );
    }
    this.#passwordHash = hash;
    this.#token = token === undefined ? undefined : new BearerToken(token);
    this.sessionKey = deriveSessionKey(`${hash ?? ''}\n${token ?? ''}`, config.namespace);
  }

  /** Whether an `Authorization` header holds the token. */
  acceptsHeader(authorization: string): boolean {
    return this.#token?.matches(authorization) === true;
  }

  /** Whether a secret typed into the sign-in page is the password, or the token. 'busy': too many are being checked. */
  async acceptsSecret(secret: string): Promise<boolean | 'busy'> {
    if (this.#token?.matches(`Bearer ${secret}`) === true) return true;
    if (this.#passwordHash === undefined || secret === '') return false;
    if (this.#checks >= MAX_CHECKS) return 'busy';
    this.#checks++;
    try {
      return await verifyPassword(secret, this.#passwordHash);
    } finally {
      this.#checks--;
    }
  }
}

/** HKDF: the key tells nothing about the secret, and keys of two namespaces differ. */
export function deriveSessionKey(secret: string, namespace: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, namespace, 'tierline dashboard session', SESSION_KEY_BYTES));
}
