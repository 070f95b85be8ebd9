import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { BodyTimeoutError, BodyTooLargeError, ClosedError, type TierlineError } from '../errors.ts';
import { itemSource } from '../schema/item-lines.ts';
import { denialOf } from './access.ts';
import { BatchLoad, lineOutcomeSchema } from './batch-load.ts';
import { failures, type RequestBody } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { audit, goneSignal, waitQuery } from './writes.ts';

const NDJSON_TYPE = 'application/x-ndjson';

const LINES: RequestBody = {
  content: {
    [NDJSON_TYPE]: {
      schema: {
        type: 'string',
        description:
          'An item a line: `{ "id", "content", "state"?, "traceParent"?, "contentType"? }`. With `"contentType": "binary"` the content is base64.',
      },
    },
  },
};

/** Takes lines as a stream and answers with a stream: neither side holds the whole. */
export async function addBatchRoute(root: GatewayApp, parts: GatewayParts): Promise<void> {
  await root.register(async (app: GatewayApp) => {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser(NDJSON_TYPE, (_request, _payload, done) => done(null));
    app.post(
      '/v1/items::batch',
      {
        // Compression would hold outcomes back.
        compress: false,
        config: { scope: 'write', requestBody: LINES },
        schema: {
          operationId: 'putItems',
          summary: 'Write many items, one a line',
          description:
            'The answer has one line for each line that holds an item, in their order, and comes while lines are read. A last line with the status `stopped` says that from this line on nothing was queued.',
          tags: ['items'],
          querystring: waitQuery,
          response: {
            200: {
              description: 'The outcomes, one a line.',
              content: { [NDJSON_TYPE]: { schema: lineOutcomeSchema } },
            },
            ...failures,
          },
        },
      },
      async (request, reply) => {
        await sendOutcomes(parts, request, reply, request.query);
        return reply;
      },
    );
  });
}

async function sendOutcomes(
  parts: GatewayParts,
  request: FastifyRequest,
  reply: FastifyReply,
  { wait, timeoutMs }: z.output<typeof waitQuery>,
): Promise<void> {
  const { store, config, stopping } = parts;
  // A JSON line may escape every second character; base64 takes a third more.
  const maxRecordBytes = 2 * config.maxContentBytes + 65_536;
  const load = new BatchLoad(store, { wait, timeoutMs, refusal: (id) => denialOf(request, id) });
  const signal = AbortSignal.any([stopping, goneSignal(reply)]);
  const pieces = linePieces(endedBy(request.raw, signal), maxRecordBytes, config.gatewayBodyTimeoutMs);
  const outcomes = load.outcomes(
    itemSource(pieces, { format: 'ndjson', idField: undefined, maxRecordBytes }),
  );
  // Before the first outcome a failure can still be told by a status.
  const first = await outcomes.next();
  if (load.counts.accepted === 0 && load.failure !== undefined) throw load.failure;
  reply.raw.once('close', () => audit(parts, request, 'batch', load.counts));
  reply.type(NDJSON_TYPE).send(Readable.from(withFirst(first, outcomes), { objectMode: false }));
}

async function* withFirst(
  first: IteratorResult<string, void>,
  rest: AsyncGenerator<string, void, undefined>,
): AsyncGenerator<string, void, undefined> {
  if (first.done !== true) yield first.value;
  yield* rest;
}

/** The body, until the signal: a gateway that stops takes no more lines. It is not destroyed, for the answer needs its connection. */
async function* endedBy(body: Readable, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const pieces = body.iterator({ destroyOnReturn: false });
  const aborted = new Promise<never>((_resolve, reject) => {
    const stop = () => reject(closed());
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  // Nobody may be waiting when it comes.
  aborted.catch(() => undefined);
  for (;;) {
    const next = (await Promise.race([pieces.next(), aborted])) as IteratorResult<Buffer>;
    if (next.done === true) return;
    yield next.value;
  }
}

function closed(): TierlineError {
  return new ClosedError('The gateway stops. Send the rest again, to another one.');
}

const NEWLINE = 0x0a;

/**
 * The pieces of a body of lines, as they come. A sender may take as long as it likes for all of them, and no longer than
 * `timeoutMs` for one line.
 * @throws BodyTooLargeError when a line is longer than `maxBytes`: the rest of it is not read; BodyTimeoutError
 */
async function* linePieces(
  pieces: AsyncIterator<Buffer, unknown>,
  maxBytes: number,
  timeoutMs: number,
): AsyncGenerator<Buffer, void, undefined> {
  let lineBytes = 0;
  let lineBegan = performance.now();
  for (;;) {
    const next = await withinLine(pieces.next(), lineBegan + timeoutMs - performance.now(), timeoutMs);
    if (next.done === true) return;
    const piece = next.value;
    const lastLine = piece.lastIndexOf(NEWLINE);
    lineBytes = lastLine < 0 ? lineBytes + piece.length : piece.length - lastLine - 1;
    yield piece;
    // After the caller had time for it: only a slow sender is refused.
    if (lastLine >= 0) lineBegan = performance.now();
    if (lineBytes > maxBytes) throw new BodyTooLargeError(`A line has more than ${maxBytes} bytes.`);
  }
}

function withinLine<T>(next: Promise<T>, leftMs: number, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new BodyTimeoutError(`A line did not arrive within ${timeoutMs} ms.`));
    const timer = setTimeout(late, Math.max(1, leftMs));
    next.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
