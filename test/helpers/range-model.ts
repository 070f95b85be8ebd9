import type { RangeJob } from '../../src/schema/job.ts';
import type { ModelOp } from './model.ts';
import type { TestOp } from './operations.ts';

/** @param within which ids it is about; left out: all */
export type RangeOp = RangeJob & { readonly within?: (id: string) => boolean };
export type MixedOp = TestOp | RangeOp;

export function isRange(op: MixedOp): op is RangeOp {
  return 'value' in op;
}

interface Registers {
  content: boolean;
  state: string | undefined;
}

/**
 * The operations in the order of their stamps, each range delete replaced by what it does to every id there was: the
 * sequential meaning that any order of arrival must end in.
 */
export function expandRanges(ops: readonly MixedOp[]): ModelOp[] {
  const known = new Map<string, Registers>();
  const expanded: ModelOp[] = [];
  for (const op of ops.toSorted((a, b) => a.stamp - b.stamp)) {
    if (!isRange(op)) {
      expanded.push(op);
      note(known, op);
      continue;
    }
    for (const [id, registers] of known) {
      const matches =
        op.kind === 'prefix' ? id.startsWith(op.value) : (registers.state ?? 'default') === op.value;
      if (!matches || op.within?.(id) === false) continue;
      expanded.push({
        kind: 'range',
        id,
        stamp: op.stamp,
        content: registers.content,
        register: registers.state !== undefined,
      });
      if (registers.state !== undefined) registers.state = 'default';
    }
  }
  return expanded;
}

function note(known: Map<string, Registers>, op: TestOp): void {
  const registers = known.get(op.id) ?? { content: false, state: undefined };
  known.set(op.id, registers);
  if (op.kind !== 'state') registers.content = true;
  if (op.kind === 'delete') registers.state = 'default';
  else if (op.state !== undefined) registers.state = op.state;
}
