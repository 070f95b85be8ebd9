import type { Socket } from 'node:net';
import type { ConnectionError } from 'fastify';
import type { Logger } from '../log.ts';
import { PROBLEM_TYPE, type Problem, problem } from './problem.ts';

/** Answers what Node could not read as a request, or not in time: no route has seen it. Then the connection is closed. */
export function answerBrokenRequest(log: Logger, error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const told = problemOf(error.code);
  log.warn({ status: told.status, code: told.code, why: error.code }, 'request refused');
  const body = JSON.stringify(told);
  const head = [
    `HTTP/1.1 ${told.status} ${told.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.destroySoon();
}

function problemOf(code: string): Problem {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return problem(408, 'ERR_BODY_TIMEOUT', 'The headers did not arrive in time.');
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return problem(431, 'ERR_INVALID_REQUEST', 'The headers are too large.');
  }
  return problem(400, 'ERR_INVALID_REQUEST', 'This is not HTTP/1.1.');
}
