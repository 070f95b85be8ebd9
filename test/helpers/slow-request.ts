import { connect } from 'node:net';

const BYTE_EVERY_MS = 50;

/** Sends `head`, then a byte at a time without end. Resolves when the server has closed the connection. */
export function sendSlowly(port: number, head: string): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.write(head);
  const sending = setInterval(() => socket.write('x'), BYTE_EVERY_MS);
  socket.resume();
  // Writing to a connection that has just been closed fails, which is what is waited for.
  socket.on('error', () => undefined);
  return new Promise((resolve) => {
    socket.once('close', () => {
      clearInterval(sending);
      resolve();
    });
  });
}

/** Headers that announce a body of `bytes`. */
export function headOf(
  method: string,
  url: string,
  bytes: number,
  headers: readonly string[] = [],
  type = 'application/x-www-form-urlencoded',
): string {
  const lines = [
    `${method} ${url} HTTP/1.1`,
    'Host: 127.0.0.1',
    `Content-Type: ${type}`,
    `Content-Length: ${bytes}`,
    ...headers,
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}
