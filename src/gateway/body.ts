import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { BodyTimeoutError, BodyTooLargeError, InvalidItemError, messageOf } from '../errors.ts';
import type { GatewayApp } from './parts.ts';
import { requestError } from './problem.ts';

export interface BodyLimits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
}

/** How long a connection lives on whose request was answered before its end. */
const LINGER_MS = 2000;
/** What is still read of such a request. */
const REST_BYTES = 256 * 1024;

/** A small compressed body may unpack to any size, so none is taken: what it holds would be stored as it is. */
export function refuseEncoded(app: GatewayApp): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const isEncoded = request.headers['content-encoding'] !== undefined;
    done(
      isEncoded
        ? requestError(415, 'Compressed bodies are not taken. Send the body without Content-Encoding.')
        : undefined,
    );
  });
}

/** Gives the routes of this scope their bodies as bytes, whatever their content type. */
export function takeBytes(app: GatewayApp, limits: BodyLimits): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request: FastifyRequest) => readBody(request.raw, limits));
}

/** Gives the routes of this scope their bodies as parsed JSON. Other content types are refused with 415. */
export function takeJson(app: GatewayApp, limits: BodyLimits): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest) =>
    parseJson(await readBody(request.raw, limits)),
  );
}

/**
 * The whole body. Node's own limit of time holds for every route alike, and a batch may take hours.
 * @throws BodyTooLargeError, BodyTimeoutError
 */
function readBody(request: IncomingMessage, { maxBytes, timeoutMs }: BodyLimits): Promise<Buffer> {
  const tooLarge = () =>
    new BodyTooLargeError(
      `The body has more than ${maxBytes} bytes, which is what this route takes. Nothing was done.`,
    );
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length']) > maxBytes) return reject(tooLarge());
    const parts: Buffer[] = [];
    let bytes = 0;
    const end = (settle: () => void) => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      settle();
    };
    const onData = (part: Buffer) => {
      bytes += part.length;
      if (bytes > maxBytes) end(() => reject(tooLarge()));
      else parts.push(part);
    };
    const onEnd = () => end(() => resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)));
    const onError = (error: Error) => end(() => reject(error));
    const onClose = () =>
      end(() => reject(new BodyTimeoutError('The sender went away before the end of the body.')));
    const timer = setTimeout(() => end(() => reject(tooSlow(timeoutMs))), timeoutMs);
    request.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  });
}

function tooSlow(timeoutMs: number): BodyTimeoutError {
  return new BodyTimeoutError(
    `The body did not arrive within ${timeoutMs} ms. Nothing was done; send it faster, or less of it.`,
  );
}

/** @throws InvalidItemError, which does not quote the text: it may be a secret */
export function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw new InvalidItemError('body', 'is not UTF-8');
  try {
    return JSON.parse(body.toString());
  } catch (error) {
    const position = /at position (\d+)/.exec(messageOf(error))?.[1];
    throw new InvalidItemError(
      'body',
      `is not JSON${position === undefined ? '' : ` (character ${Number(position) + 1})`}`,
    );
  }
}

/**
 * Ends connections on which a body still comes after the answer: a sender without end would keep them for ever. A small rest is read
 * and thrown away, and then the connection goes on. Of a large one nothing more is read. Its sender has time to read the answer: a
 * connection that is closed at once with unread bytes may lose it.
 */
export function closeUnread(app: GatewayApp): void {
  app.addHook('onResponse', (request: FastifyRequest, _reply, done) => {
    const { raw } = request;
    if (!raw.complete && !raw.destroyed) {
      const { socket } = raw;
      const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      let left = REST_BYTES;
      raw.on('data', (part: Buffer) => {
        left -= part.length;
        if (left < 0) raw.pause();
      });
      raw.once('end', () => clearTimeout(timer));
    }
    done();
  });
}
