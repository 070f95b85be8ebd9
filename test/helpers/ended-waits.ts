import { setTimeout as sleep } from 'node:timers/promises';
import { ChunkTicket, waitFor } from '../../src/producer/ticket.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';
import { HeapPeak } from './heap-use.ts';

/** Waits again and again for chunks that do not settle. */
export interface EndedWaitsReport {
  /** Waits that have ended. */
  readonly ended: number;
  /** Those whose error is still held, although nobody asks for it. */
  readonly held: number;
}

const WAITS = 200;
const HOUR_MS = 3_600_000;

const chunks = [1, 2, 3].map((first) => new TrackedChunk(`${first}`, first, 1, 'epoch'));
const ticket = new ChunkTicket('a', chunks[0] as TrackedChunk, 0);
const errors: WeakRef<Error>[] = [];

async function waitInVain(wait: Promise<unknown>): Promise<void> {
  await wait.catch((error: unknown) => void errors.push(new WeakRef(error as Error)));
}

async function abort(wait: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const controller = new AbortController();
  const waiting = waitInVain(wait(controller.signal));
  controller.abort();
  await waiting;
}

for (let i = 0; i < WAITS; i++) {
  await Promise.all([
    waitInVain(ticket.settled({ timeoutMs: 1 })),
    waitInVain(waitFor(chunks, { timeoutMs: 1 })),
    abort((signal) => ticket.settled({ signal })),
    abort((signal) => waitFor(chunks, { signal, timeoutMs: HOUR_MS })),
  ]);
}
// What a WeakRef was made of in this turn cannot be collected in it.
await sleep(1);
new HeapPeak().sample();
const held = errors.filter((error) => error.deref() !== undefined).length;
const report: EndedWaitsReport = { ended: errors.length, held };
process.stdout.write(JSON.stringify(report));
for (const chunk of chunks) chunk.settle({});
