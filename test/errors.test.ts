import test from 'ava';
import { boundedReason } from '../src/errors.ts';

test('I10: a reason is cut to 1 KB, between two characters, and has no NUL', (t) => {
  t.is(boundedReason('short'), 'short');
  t.is(boundedReason('a\0b'), 'a\\0b');
  t.is(boundedReason('x'.repeat(1024)), 'x'.repeat(1024));
  t.is(boundedReason('x'.repeat(1025)), `${'x'.repeat(1021)}…`);
  for (const text of ['ä', '✓', '😀', 'a😀']) {
    const cut = boundedReason(text.repeat(100_000));
    t.true(Buffer.byteLength(cut) <= 1024 && Buffer.byteLength(cut) > 1000, text);
    t.true(cut.isWellFormed() && !cut.includes('\uFFFD'), text);
  }
});
