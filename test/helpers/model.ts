import type { TestOp } from './operations.ts';
import { contentDigest, sha256, stateDigest, xor, ZERO } from './reference-digest.ts';

/** What a row must be, written down as simply as possible: the operations in the order of their stamps. */
export interface ModelRow {
  readonly id: string;
  readonly contentVersion: number;
  readonly stateVersion: number;
  readonly deleted: boolean;
  readonly kind: 'json' | 'binary' | undefined;
  /** JSON text or base64. */
  readonly body: string | undefined;
  readonly hash: string | undefined;
  readonly state: string;
  readonly tombstoneWeek: number;
  /** Hex. */
  readonly digest: string;
  /** Digest of the state register alone, hex. */
  readonly stateDigest: string;
}

/** What a range delete does to one id: the registers that were written before it. */
export interface RangeTouch {
  readonly kind: 'range';
  readonly id: string;
  readonly stamp: number;
  readonly content: boolean;
  readonly register: boolean;
}

export type ModelOp = TestOp | RangeTouch;

const WEEK_US = 604_800_000_000;

/** The rows that any order of `ops` must end in, sorted by id. */
export function modelRows(ops: readonly ModelOp[]): ModelRow[] {
  const byId = new Map<string, ModelOp[]>();
  for (const op of ops.toSorted((a, b) => a.stamp - b.stamp))
    byId.set(op.id, [...(byId.get(op.id) ?? []), op]);
  const rows = [...byId].map(([id, own]) => modelRow(id, own));
  return rows.toSorted((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
}

function modelRow(id: string, ops: readonly ModelOp[]): ModelRow {
  // Of one stamp: a delete wins over any content, then the larger hash.
  const content = ops
    .filter((op) => (op.kind === 'range' ? op.content : op.kind !== 'state'))
    .toSorted((a, b) => a.stamp - b.stamp || Buffer.compare(contentPlace(a), contentPlace(b)))
    .at(-1);
  // Of one stamp: the larger text.
  const state = ops
    .filter(
      (op) =>
        op.kind === 'delete' ||
        (op.kind === 'range' && op.register) ||
        ('state' in op && op.state !== undefined),
    )
    .toSorted((a, b) => a.stamp - b.stamp || Buffer.compare(statePlace(a), statePlace(b)))
    .at(-1);
  const live = content !== undefined && 'body' in content ? content : undefined;
  const contentVersion = content?.stamp ?? 0;
  const stateVersion = state?.stamp ?? 0;
  const stateName = state !== undefined && 'state' in state ? (state.state ?? 'default') : 'default';
  const hash = live === undefined ? undefined : hashOf(live);
  const ofState = stateVersion === 0 ? ZERO : stateDigest(id, stateVersion, stateName);
  return {
    id,
    contentVersion,
    stateVersion,
    deleted: live === undefined,
    kind: live?.kind,
    body: live?.body,
    hash: hash?.toString('hex'),
    state: stateName,
    tombstoneWeek: live === undefined ? 1 + Math.floor(Math.max(contentVersion, stateVersion) / WEEK_US) : 0,
    digest: xor(contentVersion === 0 ? ZERO : contentDigest(id, contentVersion, hash), ofState).toString(
      'hex',
    ),
    stateDigest: ofState.toString('hex'),
  };
}

function contentPlace(op: ModelOp): Buffer {
  return 'body' in op ? hashOf(op) : Buffer.alloc(33, 255);
}

function statePlace(op: ModelOp): Buffer {
  return Buffer.from('state' in op ? (op.state ?? '') : 'default');
}

function hashOf(op: { kind: 'json' | 'binary'; body: string }): Buffer {
  return sha256(op.kind === 'json' ? op.body : Buffer.from(op.body, 'base64'));
}

/** Count and digest of the live rows. */
export function modelRoot(rows: readonly Pick<ModelRow, 'deleted' | 'digest'>[]): {
  count: number;
  digest: string;
} {
  const live = rows.filter((row) => !row.deleted);
  return {
    count: live.length,
    digest: live.reduce<Buffer>((sum, row) => xor(sum, Buffer.from(row.digest, 'hex')), ZERO).toString('hex'),
  };
}
