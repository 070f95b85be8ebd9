import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConfigError, messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { BearerToken } from './bearer-token.ts';
import type { ReadinessReport } from './readiness.ts';

export interface ProbeServerOptions {
  /** 0 takes a free one. */
  readonly port: number;
  readonly host: string;
  /** What `/metrics` asks for. Without one, only loopback is listened on. */
  readonly token: string | undefined;
  /** For a whole request to arrive. @default 5000 */
  readonly requestTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 5000;

export interface ProbeSources {
  readonly readiness: { report(): Promise<ReadinessReport> };
  readonly metrics: { metrics(): Promise<string>; readonly contentType: string };
  readonly log: Logger;
}

/** Loopback has no meaning for names a resolver may point elsewhere, except this one. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/**
 * `GET /healthz`: 200 while the process answers at all; asks no backend, so that a dead backend restarts nobody.
 * `GET /readyz`: 200 or 503 and the checks. `GET /metrics`: Prometheus text, behind the bearer token if one is set.
 */
export class ProbeServer {
  readonly #options: ProbeServerOptions;
  readonly #sources: ProbeSources;
  readonly #token: BearerToken | undefined;
  readonly #server: Server;

  /** @throws ConfigError when it would show metrics beyond loopback to everybody. */
  constructor(options: ProbeServerOptions, sources: ProbeSources) {
    if (options.token === undefined && !LOOPBACK.test(options.host)) {
      throw new ConfigError(
        `TIERLINE_METRICS_HOST is ${options.host}: beyond loopback the metrics need a token. Set TIERLINE_METRICS_TOKEN to 16 characters or more.`,
      );
    }
    this.#options = options;
    this.#sources = sources;
    this.#token = options.token === undefined ? undefined : new BearerToken(options.token);
    const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
    this.#server = createServer(
      {
        requestTimeout: requestTimeoutMs,
        headersTimeout: requestTimeoutMs,
        // Node looks for late requests every 30 s unless it is told otherwise.
        connectionsCheckingInterval: requestTimeoutMs / 4,
        keepAliveTimeout: 5000,
        maxHeaderSize: 8192,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = 64;
  }

  /** @throws ConfigError when the port cannot be had. */
  async listen(): Promise<AddressInfo> {
    this.#server.listen(this.#options.port, this.#options.host);
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw new ConfigError(
        `TIERLINE_METRICS_PORT: cannot listen on ${this.#options.host}:${this.#options.port}: ${messageOf(error)}. Choose another port.`,
        { cause: error },
      );
    }
    const address = this.#server.address() as AddressInfo;
    this.#sources.log.info({ host: address.address, port: address.port }, 'probes listening');
    return address;
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      // A probe has no body; what comes is thrown away.
      request.resume();
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.setHeader('Allow', 'GET, HEAD');
        return send(response, 405, { error: 'only GET' });
      }
      const path = request.url?.split('?', 1)[0];
      if (path === '/healthz') return send(response, 200, { status: 'alive' });
      if (path === '/readyz') {
        const report = await this.#sources.readiness.report();
        return send(response, report.ready ? 200 : 503, report);
      }
      if (path === '/metrics') return await this.#metrics(request, response);
      send(response, 404, { error: 'try /healthz, /readyz or /metrics' });
    } catch (error) {
      this.#sources.log.error({ err: error }, 'probe failed');
      if (!response.headersSent) send(response, 500, { error: 'failed; see the log' });
      else response.destroy();
    }
  }

  async #metrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#token?.matches(request.headers.authorization) === false) {
      response.setHeader('WWW-Authenticate', 'Bearer realm="metrics"');
      return send(response, 401, { error: 'needs Authorization: Bearer <TIERLINE_METRICS_TOKEN>' });
    }
    const text = await this.#sources.metrics.metrics();
    write(response, 200, this.#sources.metrics.contentType, text);
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  write(response, status, 'application/json; charset=utf-8', `${JSON.stringify(body)}\n`);
}

function write(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  // Node leaves the body of an answer to HEAD out by itself.
  response.end(body);
}
