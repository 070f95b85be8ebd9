import { createHash, timingSafeEqual } from 'node:crypto';

/** A token of `Authorization: Bearer`, compared in a time that tells nothing of it. */
export class BearerToken {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  matches(authorization: string | undefined): boolean {
    const given = /^Bearer ([^\s]+)$/i.exec(authorization ?? '')?.[1] ?? '';
    // Digests are of one length, which timingSafeEqual needs and the token's own length is not told by.
    return timingSafeEqual(this.#digest, digestOf(given));
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
