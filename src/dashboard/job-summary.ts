import { printable } from '../printable.ts';
import { chunkSchema, kindAt, type OperationKind, rangeSchema } from '../schema/job.ts';

const OPERATIONS: Readonly<Record<OperationKind, string>> = {
  putJson: 'put (JSON)',
  putBinary: 'put (binary)',
  delete: 'delete',
  setState: 'set state',
};
const FIRST_IDS = 5;

/** A job's data or result as it is, with escapes for what cannot be seen in its texts. */
export function visibleData(data: unknown): unknown {
  const text = JSON.stringify(data) as string | undefined;
  if (text === undefined) return data;
  return JSON.parse(text, (_key, value: unknown) => (typeof value === 'string' ? printable(value) : value));
}

/** What Bull Board shows of a job of ours in place of what it holds: no content, and a page that stays quick. */
export function jobSummary(data: unknown): object {
  const chunk = chunkSchema.safeParse(data).data;
  if (chunk !== undefined) {
    const operations: Record<string, number> = {};
    chunk.ids.forEach((_, index) => {
      const name = OPERATIONS[kindAt(chunk, index)];
      operations[name] = (operations[name] ?? 0) + 1;
    });
    return {
      operations,
      items: chunk.ids.length,
      bytes: chunk.bodies.reduce((sum, body) => sum + Buffer.byteLength(body), 0),
      firstIds: chunk.ids.slice(0, FIRST_IDS).map(printable),
      firstVersion: chunk.first,
      ...(chunk.atomic === true ? { atomic: true } : {}),
    };
  }
  const range = rangeSchema.safeParse(data).data;
  if (range !== undefined) {
    return { operation: `delete ${range.kind}`, [range.kind]: printable(range.value), version: range.stamp };
  }
  return { operation: 'unknown', bytes: Buffer.byteLength(JSON.stringify(data) ?? '') };
}
