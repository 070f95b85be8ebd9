import test from 'ava';
import { figure, inRounds } from '../../bench/rounds.ts';

test('measurements take turns, every other round backwards, and the first round does not count', async (t) => {
  const order: string[] = [];
  let calls = 0;
  const measure = (name: string) => async () => {
    order.push(name);
    return calls++;
  };
  const rounds = await inRounds({ a: measure('a'), b: measure('b') }, 3);
  t.is(order.join(''), 'abbaabba');
  t.deepEqual(rounds, [
    { a: 3, b: 2 },
    { a: 4, b: 5 },
    { a: 7, b: 6 },
  ]);
});

test('a ratio is taken within each round: what slows a whole round down changes no ratio', (t) => {
  const rounds = [
    { ours: 10, limit: 5 },
    { ours: 1000, limit: 600 },
    { ours: 20, limit: 8 },
  ];
  t.deepEqual(
    figure(rounds, ({ ours, limit }) => limit / ours),
    { median: 0.5, low: 0.4, high: 0.6 },
  );
  t.is(figure(rounds.slice(1), ({ limit }) => limit).median, 304);
});
