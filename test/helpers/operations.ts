import { randomUUID } from 'node:crypto';
import { type Chunk, foldOps, opsOf, type Row } from '../../src/batch/fold.ts';
import { Digester, hashContent } from '../../src/merkle/digest.ts';
import { type Operation, toChunkJob } from '../../src/schema/job.ts';

/** One write as a producer would stamp it. Content comes as the text that is stored: JSON, or base64. */
export type TestOp = { readonly id: string; readonly stamp: number } & (
  | { readonly kind: 'json' | 'binary'; readonly body: string; readonly state?: string }
  | { readonly kind: 'delete' }
  | { readonly kind: 'state'; readonly state: string }
);

const KINDS = { json: 'putJson', binary: 'putBinary', delete: 'delete', state: 'setState' } as const;

const operationsOf = new WeakMap<Chunk, readonly TestOp[]>();

/** The operations of chunks that `chunkOf` made, each as a chunk of its own, by what `groupOf` says of their ids. */
export function regrouped(
  chunks: readonly Chunk[],
  groupOf: (id: string) => number,
): ReadonlyMap<number, Chunk[]> {
  const groups = new Map<number, Chunk[]>();
  for (const op of chunks.flatMap((chunk) => operationsOf.get(chunk) ?? [])) {
    const group = groups.get(groupOf(op.id)) ?? [];
    groups.set(groupOf(op.id), group);
    group.push(chunkOf([op]));
  }
  return groups;
}

export function json(id: string, stamp: number, body = '1'): TestOp {
  return { id, stamp, kind: 'json', body };
}

export function state(id: string, stamp: number, name = 'open'): TestOp {
  return { id, stamp, kind: 'state', state: name };
}

/** The rows that a batch of these operations, each a chunk of its own, writes to Postgres. */
export function rowsOf(ops: readonly TestOp[]): Row[] {
  return foldOps(ops.map((op) => chunkOf([op])).flatMap(opsOf), new Digester());
}

/** A queue job of operations whose stamps follow each other, as stamps of one chunk do. */
export function chunkOf(ops: readonly TestOp[]): Chunk {
  const first = ops[0]?.stamp ?? 1;
  ops.forEach((op, i) => {
    if (op.stamp !== first + i) throw new Error('stamps of a chunk follow each other');
  });
  const operations = ops.map((op): Operation => {
    const body = 'body' in op ? op.body : '';
    return {
      id: op.id,
      kind: KINDS[op.kind],
      tiers: 'all',
      body,
      hash: 'body' in op ? hashContent(op.kind === 'json' ? body : Buffer.from(body, 'base64')) : '',
      ttlMs: null,
      state: 'state' in op ? (op.state ?? null) : null,
      traceParent: null,
    };
  });
  const chunk = { chunkId: randomUUID(), job: toChunkJob(first, operations, false) };
  operationsOf.set(chunk, ops);
  return chunk;
}
