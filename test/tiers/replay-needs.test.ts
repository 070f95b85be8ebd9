import test from 'ava';
import { createLogger } from '../../src/log.ts';
import type { WalPlace } from '../../src/postgres/replica.ts';
import { ReplayNeeds } from '../../src/tiers/replay-needs.ts';
import { eventually } from '../helpers/eventually.ts';

function at(lsn: number, timeline = 1): WalPlace {
  return { database: 'd', timeline, lsn: BigInt(lsn) };
}

/** A primary whose answers the test gives. */
class Primary {
  readonly #waiting: { resolve: (place: WalPlace) => void; reject: (error: Error) => void }[] = [];

  readonly ask = () =>
    new Promise<WalPlace>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });

  get isAsked(): boolean {
    return this.#waiting.length > 0;
  }

  async answer(place: WalPlace): Promise<void> {
    this.#waiting.shift()?.resolve(place);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async fail(): Promise<void> {
    this.#waiting.shift()?.reject(new Error('away'));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function following(maxIds?: number): Promise<{ primary: Primary; needs: ReplayNeeds }> {
  const primary = new Primary();
  const needs = new ReplayNeeds(primary.ask, createLogger('test', 'silent'), maxIds);
  needs.onLive();
  await primary.answer(at(100));
  return { primary, needs };
}

/** Renews until the primary is asked: two questions are some time apart. */
function asked(needs: ReplayNeeds, primary: Primary): Promise<void> {
  return eventually(() => {
    needs.renew();
    return primary.isAsked;
  }, 'the primary is asked');
}

test('I6: a change needs the place that was asked for after the feed told of it; other ids need no more than before', async (t) => {
  const { primary, needs } = await following();
  t.true(needs.isCovered('a', at(100)));
  t.false(needs.isCovered('a', at(99)));
  needs.onChanges({ ids: ['a'] });
  t.false(needs.isKnown('a'));
  t.false(needs.isCovered('a', at(1000)), 'its commit may lie anywhere');
  t.true(needs.isCovered('b', at(100)));

  await asked(needs, primary);
  needs.onChanges({ ids: ['c'] });
  await primary.answer(at(200));
  t.false(needs.isCovered('a', at(199)));
  t.true(needs.isCovered('a', at(200)));
  t.false(needs.isKnown('c'), 'the question was asked before the feed told of it');
  needs.onChanges({ ids: ['a'] });
  t.false(needs.isKnown('a'), 'it has changed again');
  await asked(needs, primary);
  await primary.answer(at(300));
  t.false(needs.isCovered('a', at(299)));
  t.true(needs.isCovered('c', at(300)));
  t.true(needs.isCovered('b', at(100)));
});

test('I6: a question that fails closes nothing, and the next one closes its changes too', async (t) => {
  const { primary, needs } = await following();
  needs.onChanges({ ids: ['a'] });
  await asked(needs, primary);
  await primary.fail();
  t.false(needs.isKnown('a'));
  needs.onChanges({ ids: ['b'] });
  await asked(needs, primary);
  await primary.answer(at(200));
  t.false(needs.isCovered('a', at(199)));
  t.true(needs.isCovered('a', at(200)));
  t.true(needs.isCovered('b', at(200)));
});

test('I6 I7: what is forgotten counts as if every id had changed then', async (t) => {
  const { primary, needs } = await following(3);
  needs.onChanges({ ids: ['a', 'b'] });
  await asked(needs, primary);
  await primary.answer(at(200));
  needs.onChanges({ ids: ['c', 'd'] });
  t.false(needs.isCovered('a', at(199)));
  t.false(needs.isCovered('z', at(199)));
  t.true(needs.isCovered('a', at(200)));
  t.is(needs.standing(at(199)), 'behind');
  // More than it remembers, and no place of the primary behind them.
  needs.onChanges({ ids: ['e', 'f', 'g', 'h'] });
  t.false(needs.isKnown('z'));
  await asked(needs, primary);
  await primary.answer(at(300));
  t.false(needs.isCovered('e', at(299)));
  t.true(needs.isCovered('e', at(300)));
});

test('I6 I7: out of sight of the feed, and after a gap until the primary was asked, nothing is covered', async (t) => {
  const { primary, needs } = await following();
  needs.onDown();
  t.false(needs.isCovered('a', at(1000)));
  needs.onLive();
  t.false(needs.isCovered('a', at(1000)));
  await primary.answer(at(100));
  t.true(needs.isCovered('a', at(100)));

  needs.onChanges({ ids: ['a'] });
  await asked(needs, primary);
  needs.onGap();
  // It was asked before the gap was known: what was missed may lie behind it.
  await primary.answer(at(200));
  t.false(needs.isCovered('b', at(200)));
  await asked(needs, primary);
  await primary.answer(at(300));
  t.false(needs.isCovered('b', at(299)));
  t.true(needs.isCovered('b', at(300)));
});

test('I6: a primary on another timeline, or one that came back older, starts the memory anew', async (t) => {
  const { primary, needs } = await following();
  needs.onChanges({ ids: ['a'] });
  await asked(needs, primary);
  await primary.answer(at(90, 2));
  t.is(needs.standing(at(1000, 1)), 'timeline');
  t.false(needs.isCovered('b', at(1000, 1)));
  t.true(needs.isCovered('a', at(90, 2)));
  t.is(needs.standing({ ...at(1000, 2), database: 'e' }), 'other');
  needs.onChanges({ ids: ['a'] });
  await asked(needs, primary);
  await primary.answer(at(50, 2));
  t.true(needs.isCovered('b', at(50, 2)));
});
