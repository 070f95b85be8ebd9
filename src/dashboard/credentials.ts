import { ConfigError } from '../errors.ts';
import type { Config } from '../config.ts';
import { BearerToken } from '../health/bearer-token.ts';
import { verifyPassword } from './password.ts';

/** Each check takes 128 MiB for a moment: a flood of sign-ins must not take the machine's memory. */
const MAX_CHECKS = 2;

/** The two credentials a dashboard may have: a password's hash for people, a bearer token for programs. */
export class Credentials {
  readonly #passwordHash: string | undefined;
  readonly #token: BearerToken | undefined;
  #checks = 0;

  /** @throws ConfigError when there is none: nobody but you may see what is stored, and there is no default. */
  constructor(config: Pick<Config, 'dashboardPasswordHash' | 'dashboardToken' | 'dashboardHost'>) {
    if (config.dashboardPasswordHash === undefined && config.dashboardToken === undefined) {
      throw new ConfigError(
        `The dashboard has no credentials, so it does not listen on ${config.dashboardHost}. ` +
          'Make a password hash with `printf %s "$PASSWORD" | tierline dashboard --hash-password` and set ' +
          'TIERLINE_DASHBOARD_PASSWORD_HASH to it, or set TIERLINE_DASHBOARD_TOKEN to what `openssl rand -hex 32` prints, or both.',
      );
    }
    this.#passwordHash = config.dashboardPasswordHash;
    this.#token = config.dashboardToken === undefined ? undefined : new BearerToken(config.dashboardToken);
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
