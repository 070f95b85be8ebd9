import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

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
