import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Session {
  readonly id: string;
  readonly expiresMs: number;
  /** What each state-changing request of the session has to carry. */
  readonly csrfToken: string;
}

/**
 * Sessions of signed-in browsers: `<id>.<expiry>.<signature>`, signed with a key of this process alone, so that nothing is
 * stored and a restart signs everybody out. Only those signed out before their time are remembered, until then.
 */
export class Sessions {
  readonly #key = randomBytes(32);
  readonly #lifeMs: number;
  readonly #ended = new Map<string, number>();

  constructor(lifeMs: number) {
    this.#lifeMs = lifeMs;
  }

  /** The value of a new session's cookie. */
  begin(nowMs = Date.now()): { readonly cookie: string; readonly session: Session } {
    const session = this.#session(randomBytes(16).toString('base64url'), nowMs + this.#lifeMs);
    const claim = `${session.id}.${session.expiresMs}`;
    return { cookie: `${claim}.${this.#sign('session', claim)}`, session };
  }

  /** The session a cookie stands for; undefined when it is none of ours, over, or signed out. */
  find(cookie: string | undefined, nowMs = Date.now()): Session | undefined {
    const [id = '', expires = '', signature = '', ...rest] = (cookie ?? '').split('.');
    if (rest.length > 0 || !sameText(signature, this.#sign('session', `${id}.${expires}`))) return undefined;
    const expiresMs = Number(expires);
    if (!(expiresMs > nowMs) || this.#ended.has(id)) return undefined;
    return this.#session(id, expiresMs);
  }

  end({ id, expiresMs }: Session, nowMs = Date.now()): void {
    for (const [ended, until] of this.#ended) if (until <= nowMs) this.#ended.delete(ended);
    this.#ended.set(id, expiresMs);
  }

  #session(id: string, expiresMs: number): Session {
    return { id, expiresMs, csrfToken: this.#sign('csrf', id) };
  }

  /** The purpose keeps a signature of one kind from passing as the other. */
  #sign(purpose: 'session' | 'csrf', text: string): string {
    return createHmac('sha256', this.#key).update(`${purpose}\0${text}`).digest('base64url');
  }
}

/** Compares in a time that does not depend on where the texts differ. */
export function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
