import { randomUUID } from 'node:crypto';
import type { Chunk } from '../../src/batch/fold.ts';
import { hashContent } from '../../src/merkle/digest.ts';
import type { ChunkJob } from '../../src/schema/job.ts';

/** One write as a producer would stamp it. Content comes as the text that is stored: JSON, or base64. */
export type TestOp = { readonly id: string; readonly stamp: number } & (
  | { readonly kind: 'json' | 'binary'; readonly body: string; readonly state?: string }
  | { readonly kind: 'delete' }
  | { readonly kind: 'state'; readonly state: string }
);

const CODES = { json: 'j', binary: 'b', delete: 'd', state: 's' } as const;

/** A queue job of operations whose stamps follow each other, as stamps of one chunk do. */
export function chunkOf(ops: readonly TestOp[]): Chunk {
  const first = ops[0]?.stamp ?? 1;
  ops.forEach((op, i) => {
    if (op.stamp !== first + i) throw new Error('stamps of a chunk follow each other');
  });
  const bodies = ops.map((op) => ('body' in op ? op.body : ''));
  const states = ops.map((op) => ('state' in op ? (op.state ?? null) : null));
  const job: ChunkJob = {
    v: 1,
    first,
    ids: ops.map((op) => op.id),
    kinds: ops.map((op) => CODES[op.kind]).join(''),
    bodies,
    hashes: ops.map((op, i) =>
      op.kind === 'json'
        ? hashContent(bodies[i] as string)
        : op.kind === 'binary'
          ? hashContent(Buffer.from(bodies[i] as string, 'base64'))
          : '',
    ),
    ...(states.some((state) => state !== null) ? { states } : {}),
  };
  return { chunkId: randomUUID(), job };
}
