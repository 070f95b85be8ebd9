import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

const unpack = promisify(gunzip);

/** Most bytes of an answer, packed or not. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

export interface JsonAnswer {
  readonly status: number;
  readonly text: string;
  /** Seconds of `Retry-After`; undefined when there is none. */
  readonly retryAfterS: number | undefined;
}

export interface Traffic {
  readonly requests: number;
  /** Bodies in both directions as they went over the wire. */
  readonly bytes: number;
}

/** Sends JSON over connections that are kept, and counts what goes over the wire. `fetch` does not tell that. */
export class JsonClient {
  readonly #base: URL;
  readonly #token: string;
  readonly #timeoutMs: number;
  readonly #agent: HttpAgent;
  readonly #closing = new AbortController();
  #requests = 0;
  #bytes = 0;

  /** @param base http or https */
  constructor(base: URL, token: string, timeoutMs: number) {
    this.#base = base;
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#agent =
      base.protocol === 'https:' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  get traffic(): Traffic {
    return { requests: this.#requests, bytes: this.#bytes };
  }

  /** Ends requests under way. */
  close(): void {
    this.#closing.abort(new Error('the peer was closed'));
    this.#agent.destroy();
  }

  /**
   * @param path below the base
   * @param body left out: a GET
   * @throws what the connection throws, or that there was no whole answer in time
   */
  async ask(path: string, body?: unknown): Promise<JsonAnswer> {
    const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    this.#requests++;
    this.#bytes += text?.length ?? 0;
    const { answer, parts } = await this.#send(path, text);
    const packed = Buffer.concat(parts);
    this.#bytes += packed.length;
    const isPacked = answer.headers['content-encoding'] === 'gzip';
    const bytes = isPacked ? await unpack(packed, { maxOutputLength: MAX_ANSWER_BYTES }) : packed;
    const retryAfterS = Number(answer.headers['retry-after']);
    return {
      status: answer.statusCode ?? 0,
      text: bytes.toString(),
      retryAfterS: Number.isFinite(retryAfterS) ? retryAfterS : undefined,
    };
  }

  #send(
    path: string,
    body: Buffer | undefined,
  ): Promise<{ readonly answer: IncomingMessage; readonly parts: readonly Buffer[] }> {
    const url = new URL(`${this.#base.pathname.replace(/\/$/, '')}${path}`, this.#base);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        method: body === undefined ? 'GET' : 'POST',
        agent: this.#agent,
        signal: AbortSignal.any([AbortSignal.timeout(this.#timeoutMs), this.#closing.signal]),
        headers: {
          accept: 'application/json',
          'accept-encoding': 'gzip',
          authorization: `Bearer ${this.#token}`,
          ...(body !== undefined && { 'content-type': 'application/json', 'content-length': body.length }),
        },
      });
      request.on('error', reject);
      request.on('response', (answer) => {
        const parts: Buffer[] = [];
        let size = 0;
        answer.on('data', (part: Buffer) => {
          size += part.length;
          if (size > MAX_ANSWER_BYTES) answer.destroy(new Error('the answer is too large'));
          else parts.push(part);
        });
        answer.on('error', reject);
        answer.on('end', () =>
          answer.complete ? resolve({ answer, parts }) : reject(new Error('the answer was cut off')),
        );
      });
      request.end(body);
    });
  }
}
