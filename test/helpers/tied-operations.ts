import * as fc from 'fast-check';
import type { TestOp } from './operations.ts';

/** Operations on few ids with few stamps, so that many have the same. */
export function tiedOperations(firstStamp: number, ids: readonly string[]): fc.Arbitrary<TestOp> {
  const stamp = fc.integer({ min: firstStamp, max: firstStamp + 3 });
  const id = fc.constantFrom(...ids);
  // Their order in UTF-16 is not that in UTF-8.
  const state = fc.constantFrom('default', 'a', 'open', '\u{1f600}', '\uffff');
  const body = fc.constantFrom('1', '"two"', '{"three":3}');
  const binary = fc.constantFrom('', 'AAEC');
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('json' as const), id, stamp, body }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('json' as const), id, stamp, body, state }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('binary' as const), id, stamp, body: binary }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), id, stamp }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('state' as const), id, stamp, state }) },
  );
}
