import { z } from 'zod';
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { pause } from '../abortable.ts';
import { ConfigError, messageOf, PeerRefusedError, PeerUnavailableError } from '../errors.ts';
import { peerUrlFault } from '../peer-options.ts';
import {
  acceptAnswer,
  identityAnswer,
  itemsAnswer,
  nodeAnswer,
  nodesAnswer,
  registersAnswer,
  rowsAnswer,
  weeksAnswer,
} from '../schema/peer.ts';
import type {
  HashNode,
  LeafItem,
  LeafItemOptions,
  LeafOptions,
  PeerRow,
  RepairPeer,
} from '../types/merkle.ts';

export interface PeerOptions {
  /** A token with the scope `peer` that the other gateway knows. */
  readonly token: string;
  /** Milliseconds that one request may take, the time included in which rows settle there. Minimum 1. @default 90,000 */
  readonly timeoutMs?: number;
}

/** Another deployment, reached through its gateway. */
export interface RemotePeer extends RepairPeer {
  readonly url: string;
  /** Requests, and bytes of their bodies as sent and received, since it was opened. */
  readonly traffic: Traffic;
  close(): void;
}

const DEFAULT_TIMEOUT_MS = 90_000;
/** Every request may be sent again: questions change nothing, and rows that are handed over twice change nothing either. */
const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 100;
/** Longest pause, whatever `Retry-After` says: the caller compares again later. */
const MAX_PAUSE_MS = 30_000;
/** Leaves of one question: about 15 items each when a million are stored. */
const QUESTION_LEAVES = 1000;

/**
 * Makes the other side of `diff` and `repair` from the URL of a gateway (docs/peer-protocol.md). Nothing is asked yet.
 * @throws ConfigError when the URL or the token cannot be used
 */
export function openPeer(url: string, { token, timeoutMs = DEFAULT_TIMEOUT_MS }: PeerOptions): RemotePeer {
  return new HttpPeer(parseUrl(url), token, timeoutMs);
}

function parseUrl(text: string): URL {
  const fault = peerUrlFault(text);
  if (fault !== undefined)
    throw new ConfigError(`The URL of a peer must be that of its gateway. It ${fault}.`);
  return new URL(text);
}

class HttpPeer implements RemotePeer {
  readonly url: string;
  readonly #client: JsonClient;

  constructor(url: URL, token: string, timeoutMs: number) {
    if (token === '') throw new ConfigError('The token of a peer is empty.');
    this.url = url.href;
    this.#client = new JsonClient(url, token, timeoutMs);
  }

  get traffic(): Traffic {
    return this.#client.traffic;
  }

  close(): void {
    this.#client.close();
  }

  identity() {
    return this.#ask(identityAnswer, '/v1/merkle/identity');
  }

  root() {
    return this.#ask(nodeAnswer, '/v1/merkle/root');
  }

  async leaves({ bits = 16, within, week }: LeafOptions): Promise<HashNode[]> {
    const question = { bits, within, ...inWeek(week) };
    const { nodes, counts, digests } = await this.#ask(nodesAnswer, '/v1/merkle/nodes', question);
    return nodes.map((node, i) => ({ node, count: counts[i] as number, digest: digests[i] as string }));
  }

  async leafItems(leaves: readonly number[], { week }: LeafItemOptions = {}): Promise<LeafItem[]> {
    const items: LeafItem[][] = [];
    for (let at = 0; at < leaves.length; at += QUESTION_LEAVES) {
      items.push(await this.#items({ leaves: leaves.slice(at, at + QUESTION_LEAVES), ...inWeek(week) }));
    }
    return items.flat();
  }

  itemsOf(ids: readonly string[], { week }: LeafItemOptions = {}): Promise<LeafItem[]> {
    return this.#items({ ids, ...inWeek(week) });
  }

  async #items(question: unknown): Promise<LeafItem[]> {
    const { ids, versions, digests } = await this.#ask(itemsAnswer, '/v1/merkle/items', question);
    return ids.map((id, i) => ({ id, version: versions[i] as number, digest: digests[i] as string }));
  }

  async tombstoneWeeks() {
    return (await this.#ask(weeksAnswer, '/v1/merkle/weeks')).weeks;
  }

  async registers(ids: readonly string[]) {
    return (await this.#ask(registersAnswer, '/v1/merkle/registers', { ids })).registers;
  }

  rows(ids: readonly string[]) {
    return this.#ask(rowsAnswer, '/v1/merkle/rows', { ids });
  }

  async accept(rows: readonly PeerRow[]) {
    return (await this.#ask(acceptAnswer, '/v1/merkle/accept', { rows })).rows;
  }

  /** @throws PeerUnavailableError, PeerRefusedError */
  async #ask<T>(schema: z.ZodType<T>, path: string, body?: unknown): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const isLast = () => attempt === ATTEMPTS || this.#client.closing.aborted;
      let answer: JsonAnswer | undefined;
      try {
        answer = await this.#client.ask(path, body);
      } catch (error) {
        if (isLast()) throw new PeerUnavailableError(this.url, messageOf(error), { cause: error });
      }
      if (answer?.status === 200) return this.#parsed(schema, path, answer.text);
      if (answer !== undefined && !isPassing(answer.status)) throw this.#refusal(answer);
      if (answer !== undefined && isLast()) throw new PeerUnavailableError(this.url, detailOf(answer));
      // Others meet the same outage: spread their next attempts.
      const pauseMs = FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random());
      const askedMs = (answer?.retryAfterS ?? 0) * 1000;
      await pause(Math.min(Math.max(pauseMs, askedMs), MAX_PAUSE_MS), { signal: this.#client.closing });
    }
  }

  #parsed<T>(schema: z.ZodType<T>, path: string, text: string): T {
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch {
      answer = undefined;
    }
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new PeerRefusedError(
      `${this.url} answered ${path} with something that is not of the peer protocol. Is it the URL of a Tierline gateway of a version that speaks it?`,
      { cause: parsed.error },
    );
  }

  #refusal(answer: JsonAnswer): PeerRefusedError {
    return new PeerRefusedError(`${this.url} refused the request (${answer.status}): ${detailOf(answer)}`);
  }
}

/** Whether the same request may succeed later. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

const problemAnswer = z.object({ detail: z.string() });

function detailOf({ status, text }: JsonAnswer): string {
  try {
    return problemAnswer.parse(JSON.parse(text)).detail;
  } catch {
    return `status ${status}`;
  }
}

/** The live items are what a question without a week is about. */
function inWeek(week = 0): { week?: number } {
  return week === 0 ? {} : { week };
}

const unpack = promisify(gunzip);

/** Most bytes of an answer, packed or not. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

interface JsonAnswer {
  readonly status: number;
  readonly text: string;
  /** Seconds of `Retry-After`; undefined when there is none. */
  readonly retryAfterS: number | undefined;
}

interface Traffic {
  readonly requests: number;
  /** Bodies in both directions as they went over the wire. */
  readonly bytes: number;
}

/** Sends JSON over connections that are kept, and counts what goes over the wire. `fetch` does not tell that. */
class JsonClient {
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

  /** Aborted by `close`. */
  get closing(): AbortSignal {
    return this.#closing.signal;
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
   * @throws what the connection throws, or that there was no whole answer in time, or that the peer was closed
   */
  async ask(path: string, body?: unknown): Promise<JsonAnswer> {
    this.#closing.signal.throwIfAborted();
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
