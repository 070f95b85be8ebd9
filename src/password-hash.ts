import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';

/** Cost of a hash as OWASP recommends it for scrypt: 128 MiB of memory, about 0.4 s. */
const COST = { ln: 17, r: 8, p: 1 } as const;
type Cost = Readonly<Record<'ln' | 'r' | 'p', number>>;

const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** 128 MiB for the cost above; a hash may ask for up to 256 MiB. */
const MAX_MEMORY = 300 * 1024 * 1024;

const NO_HASH =
  'is not a password hash; make one with `tierline dashboard --hash-password`, which reads the password from standard input';

/** What `hashPassword` gives. A cost that scrypt refuses would let nobody in. */
export const passwordHash = z
  .string()
  .regex(/^scrypt:\d{1,2}:\d{1,2}:\d{1,2}:[\w-]{16,}:[\w-]{43}$/, { error: NO_HASH, abort: true })
  .refine((hash) => isPossible(costOf(hash)), NO_HASH);

/** As OpenSSL decides about the parameters of RFC 7914, and about its memory. */
function isPossible({ ln, r, p }: Cost): boolean {
  return ln >= 1 && r >= 1 && p >= 1 && ln < 16 * r && 128 * r * (2 ** ln + 2 + p) <= MAX_MEMORY;
}

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
  const [, , , , salt = '', key = ''] = hash.split(':');
  const expected = Buffer.from(key, 'base64url');
  const given = await derive(password, Buffer.from(salt, 'base64url'), costOf(hash));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function costOf(hash: string): Cost {
  const [, ln, r, p] = hash.split(':').map(Number) as [number, number, number, number];
  return { ln, r, p };
}

function derive(password: string, salt: Buffer, { ln, r, p }: Cost): Promise<Buffer> {
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
