import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { answerOf } from './answer-of.ts';

/** What a reader process found when it was asked to compare its L1 with Postgres. */
export interface ReaderReport {
  /** Reads made, of which so many failed because a backend was away. */
  readonly reads: number;
  readonly failed: number;
  /** Ids for which a read was older than one before. */
  readonly wentBack: readonly string[];
  /** L1 entries compared, known absence included. */
  readonly compared: number;
  readonly stale: readonly string[];
  /** Ids whose absence was claimed though they had settled. */
  readonly denied: readonly string[];
  readonly flushes: number;
}

/** A process that reads ids at random, all the time, and remembers the newest version it was given of each. */
export interface ReaderProcess {
  /** Stops reading, waits until it has seen all of the feed, and compares every L1 entry with Postgres. */
  report(): Promise<ReaderReport>;
  stop(): Promise<void>;
}

/** @param ids how many: `k.0`, `k.1`, … */
export async function startReaderProcess(env: NodeJS.ProcessEnv, ids: number): Promise<ReaderProcess> {
  const file = fileURLToPath(new URL('./reading.js', import.meta.url));
  const child: ChildProcess = fork(file, [String(ids)], { env: { ...env, TIERLINE_LOG_LEVEL: 'silent' } });
  await answerOf(child);
  return {
    async report() {
      const answer = answerOf(child);
      child.send('report');
      return (await answer) as ReaderReport;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}
