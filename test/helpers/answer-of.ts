import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** The next message of a forked process. @throws when it ends instead: a test would wait for ever */
export async function answerOf(child: ChildProcess): Promise<unknown> {
  const waiting = new AbortController();
  const { signal } = waiting;
  const message = once(child, 'message', { signal }).then(([answer]) => answer as unknown);
  const ended = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`${child.spawnargs.join(' ')} ended with ${String(code)}`);
  });
  try {
    return await Promise.race([message, ended]);
  } finally {
    waiting.abort();
  }
}
