import { BodyTimeoutError, BodyTooLargeError } from '../errors.ts';

const NEWLINE = 0x0a;

/**
 * The pieces of a body of lines, as they come. A sender may take as long as it likes for all of them, and no longer than
 * `timeoutMs` for one line.
 * @throws BodyTooLargeError when a line is longer than `maxBytes`: the rest of it is not read; BodyTimeoutError
 */
export async function* linePieces(
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
