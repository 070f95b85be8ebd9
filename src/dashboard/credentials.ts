import { hkdfSync, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '../errors.ts';
import type { Config } from '../config.ts';
import { BearerToken } from '../health/http-server.ts';

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

/** Cost of a hash as OWASP recommends it for scrypt: 128 MiB of memory, about 0.4 s. */
const COST = { ln: 17, r: 8, p: 1 } as const;
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** 128 MiB for the cost above; a hash may ask for up to 256 MiB. */
const MAX_MEMORY = 300 * 1024 * 1024;

/**
 * `scrypt:17:8:1:<salt>:<key>`, base64url: no character of it means anything to a shell, an .env file or a compose file.
 * @param password 1 or more characters; Unicode forms that look the same are the same
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const key = await derive(password, salt, COST);
  return ['scrypt', COST.ln, COST.r, COST.p, salt.toString('base64url'), key.toString('base64url')].join(':');
}

/** @param hash what `hashPassword` gave */
export async function verifyPassword(password: string, hash: string): Promise<boolean> {
  const [, ln, r, p, salt = '', key = ''] = hash.split(':');
  const expected = Buffer.from(key, 'base64url');
  const cost = { ln: Number(ln), r: Number(r), p: Number(p) };
  const given = await derive(password, Buffer.from(salt, 'base64url'), cost);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function derive(
  password: string,
  salt: Buffer,
  { ln, r, p }: { readonly ln: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(
      password.normalize('NFKC'),
      salt,
      KEY_BYTES,
      { N: 2 ** ln, r, p, maxmem: MAX_MEMORY },
      (error, key) => {
        if (error === null) resolve(key);
        else reject(error);
      },
    );
  });
}
