import test from 'ava';
import * as fc from 'fast-check';
import {
  type ContentValue,
  contentRank,
  isLowerRank,
  isLargerText,
  isNewerContent,
  isNewerState,
  isSameContent,
  isTie,
  RANK_UNKNOWN,
  type StateValue,
} from '../../src/schema/register-order.ts';

const stamp = fc.constantFrom(0, 7, 8);
/** Some begin alike, further than a rank reaches. */
const hash = fc.constantFrom(
  '0f'.repeat(32),
  `${'0f'.repeat(31)}10`,
  `10${'0f'.repeat(31)}`,
  'ff'.repeat(32),
);
const content: fc.Arbitrary<ContentValue> = fc.oneof(
  fc.record({ contentVersion: stamp, deleted: fc.constant(false), contentHash: hash }),
  fc.record({ contentVersion: stamp, deleted: fc.constant(true), contentHash: fc.constant('') }),
);
const state: fc.Arbitrary<StateValue> = fc.record({
  stateVersion: stamp,
  // UTF-16 and UTF-8 order the last two differently.
  state: fc.constantFrom('default', 'a', 'ab', '\uffff', '\u{1f600}'),
});

/** Values in the order of the rule, as texts that compare byte by byte. */
const contentOrder = ({ contentVersion, deleted, contentHash }: ContentValue) =>
  Buffer.from(`${contentVersion} ${deleted ? 1 : 0} ${contentHash}`);
const rankOf = ({ deleted, contentHash }: ContentValue) => contentRank(deleted, contentHash);
const stateOrder = ({ stateVersion, state: text }: StateValue) => Buffer.from(`${stateVersion} ${text}`);

test('I2: the larger stamp wins; of equal ones a delete, then the larger hash, and the state of larger bytes', (t) => {
  const property = fc.property(content, content, state, state, (a, b, c, d) => {
    t.is(isNewerContent(a, b), Buffer.compare(contentOrder(a), contentOrder(b)) > 0);
    t.is(isNewerState(c, d), Buffer.compare(stateOrder(c), stateOrder(d)) > 0);
    t.false(isLargerText(c.state, c.state));
  });
  fc.assert(property, { numRuns: 500 });
});

test('I2: a tie is a register that was written at the same stamp with another value', (t) => {
  const property = fc.property(content, content, state, state, (a, b, c, d) => {
    const isContentTie =
      a.contentVersion > 0 &&
      a.contentVersion === b.contentVersion &&
      !contentOrder(a).equals(contentOrder(b));
    const isStateTie = c.stateVersion > 0 && c.stateVersion === d.stateVersion && c.state !== d.state;
    t.is(isTie({ ...a, ...c }, { ...b, ...d }), isContentTie || isStateTie);
    t.is(isSameContent(a, b), a.contentVersion === b.contentVersion && !isContentTie);
  });
  fc.assert(property, { numRuns: 500 });
});

test('I6: ranks order contents of one stamp as far as they tell them apart, and what is not known is not lower', (t) => {
  const property = fc.property(content, content, (a, b) => {
    const [one, other] = [
      { ...a, contentVersion: 7 },
      { ...b, contentVersion: 7 },
    ];
    // Of two hashes that begin alike none is known to lose.
    if (isLowerRank(rankOf(one), rankOf(other))) t.true(isNewerContent(other, one));
    else if (rankOf(one) !== rankOf(other)) t.true(isNewerContent(one, other));
    const live = contentRank(false, '');
    t.is(isLowerRank(live, rankOf(other)), other.deleted);
    t.false(isLowerRank(rankOf(one), live));
    t.false(isLowerRank(RANK_UNKNOWN, rankOf(other)));
    t.false(isLowerRank(rankOf(one), RANK_UNKNOWN));
  });
  fc.assert(property, { numRuns: 500 });
});
