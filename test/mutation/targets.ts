/** A compiled file whose code is broken on purpose, and the tests that must notice. */
export interface Target {
  readonly name: string;
  /** Relative to `dist/`. */
  readonly file: string;
  /** The quickest come first: the first failure ends a run. */
  readonly tests: readonly string[];
  /**
   * Changes that no test can notice: part of the changed line, what it becomes, and why that is the same. A change that is neither
   * here nor noticed is a gap in the tests.
   */
  readonly equivalent?: readonly { readonly line: string; readonly to: string; readonly why: string }[];
}

/** Where an error would break a promise without a crash: orders, merges, bounds, digests. */
export const TARGETS: readonly Target[] = [
  {
    name: 'fold',
    file: 'src/batch/fold.js',
    tests: [
      'test/batch/fold.test.ts',
      'test/property/equal-stamps.test.ts',
      'test/property/order-independence.test.ts',
    ],
    equivalent: [
      {
        line: 'op.stamp !== row.contentVersion',
        to: 'op.stamp === row.contentVersion',
        why: 'isNewerContent compares the stamps again',
      },
      { line: 'op.stamp > row.contentVersion', to: '>=', why: 'they differ here' },
      {
        line: 'stateStamp !== row.stateVersion',
        to: 'stateStamp === row.stateVersion',
        why: 'isNewerState compares the stamps again',
      },
      { line: 'stateStamp > row.stateVersion', to: '>=', why: 'they differ here' },
      { line: 'a.id < b.id', to: '<=', why: 'the ids of rows differ' },
      { line: 'newest.get(op.id)', to: '>=', why: 'an equal stamp is set to what it is' },
    ],
  },
  {
    name: 'register-order',
    file: 'src/schema/register-order.js',
    tests: ['test/schema/register-order.test.ts'],
    equivalent: [
      { line: 'return a.contentVersion > b.contentVersion', to: '>=', why: 'they differ here' },
      { line: 'return a.stateVersion > b.stateVersion', to: '>=', why: 'they differ here' },
      { line: 'b <= RANK_LIVE', to: 'b < RANK_LIVE', why: 'only RANK_UNKNOWN is lower than RANK_LIVE' },
    ],
  },
  {
    name: 'filter',
    file: 'src/filter/cuckoo.js',
    tests: ['test/filter/cuckoo.test.ts', 'test/filter/codec.test.ts'],
    equivalent: [
      { line: 'if (i < length)', to: '<=', why: 'the unit after the last is NaN, which shifts to 0' },
      { line: 'ids <= MAX_SLOTS', to: 'ids < MAX_SLOTS', why: 'the product is no whole number' },
      { line: 'slots * MAX_LOAD < ids', to: '<=', why: 'the product is no whole number' },
      { line: 'slots <= MAX_SLOTS', to: 'slots < MAX_SLOTS', why: 'a table of 2 GB is not made in a test' },
    ],
  },
  {
    name: 'digest',
    file: 'src/merkle/digest.js',
    tests: ['test/merkle/digest.test.ts'],
  },
  {
    name: 'cursor',
    file: 'src/read/paging.js',
    tests: ['test/read/cursors.test.ts', 'test/read/queries.test.ts'],
    equivalent: [
      { line: "typeof by !== 'string'", to: '&& typeof key', why: 'both are compared with texts afterwards' },
      {
        line: 'format !== FORMAT ||',
        to: '&& typeof by',
        why: 'its text is compared with the only right one afterwards',
      },
      { line: 'cursor.length > MAX_CHARS', to: '>=', why: 'the longest cursor is shorter' },
    ],
  },
  {
    name: 'fences',
    file: 'src/read/floors.js',
    tests: ['test/read/floors.test.ts', 'test/property/read-floors.test.ts', 'test/read/coherence.test.ts'],
    equivalent: [
      {
        line: 'turn < 2',
        to: 'turn <= 2',
        why: 'a third turn finds both spans new, or the older one in use',
      },
    ],
  },
  {
    name: 'copies',
    file: 'src/redis/scripts/set-newer.lua',
    tests: [
      'test/redis/item-store.test.ts',
      'test/contracts/tier.test.ts',
      'test/drain/foreign-values.test.ts',
      'test/drain/fresh-copies.test.ts',
      'test/property/equal-stamps.test.ts',
    ],
    equivalent: [
      { line: 'local likelyAbsent =', to: '~=', why: 'it chooses which of two ways is tried first' },
      { line: 'local shortLived = false', to: 'true', why: 'it is set again for each bucket' },
      {
        line: 'memoryShare() >= maxShare',
        to: 'memoryShare() >',
        why: 'the shares are equal by chance only',
      },
      {
        line: 'if life >= 0 and life < goodFor',
        to: '<=',
        why: 'the very millisecond is hit by chance only',
      },
      { line: 'if life >= 0 and life < goodFor', to: 'life > 0', why: 'less than a millisecond is left' },
      { line: 'if x ~= y then return x > y', to: '>=', why: 'they differ here' },
      { line: 'byte < 128', to: '<= 128', why: 'no character begins with this byte' },
      { line: 'local isOld = now >=', to: 'now >', why: 'the very millisecond is hit by chance only' },
    ],
  },
  {
    name: 'apply',
    file: 'src/postgres/apply-batch.js',
    tests: [
      'test/postgres/apply-batch.test.ts',
      'test/drain/batch-writer.test.ts',
      'test/property/order-independence.test.ts',
      'test/property/equal-stamps.test.ts',
    ],
    equivalent: [
      { line: 'EXCLUDED.content_hash > t.content_hash', to: '>=', why: 'a value is written over by itself' },
      { line: 'EXCLUDED.state > t.state', to: '>=', why: 'a value is written over by itself' },
      { line: 'state_version > 0', to: '>=', why: 'more rows are told, which are as the batch says' },
      { line: 'NONE_APPLIED =', to: 'false', why: 'it chooses which of two ways is tried first' },
      { line: 'allNew: false', to: 'allNew: true', why: 'it chooses which of two ways is tried first' },
      { line: 'hasJson =', to: '|| !row.deleted', why: 'a column of NULLs is given' },
      { line: 'tied.length > 0', to: '>=', why: 'a statement of no rows' },
    ],
  },
  {
    name: 'range-delete',
    file: 'src/postgres/range-deletes.js',
    tests: [
      'test/postgres/range-deletes.test.ts',
      'test/drain/range-delete.test.ts',
      'test/integration/refused-ranges.test.ts',
      'test/property/mixed-order.test.ts',
    ],
    equivalent: [
      {
        line: '.content_version < $1',
        to: '.content_version <= $1',
        why: 'a delete is written over by itself',
      },
      { line: "state < '${DEFAULT_STATE}'", to: "state <= '", why: 'a value is written over by itself' },
      {
        line: 'OR state_version > 0) AS otherwise',
        to: '>= 0',
        why: 'more rows are told, which are as they are',
      },
      { line: "THEN 'hidden'", to: '>=', why: 'an equal one is covered already' },
    ],
  },
];
