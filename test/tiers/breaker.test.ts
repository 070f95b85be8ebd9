import test from 'ava';
import * as fc from 'fast-check';
import { Breaker, BreakerOpenError, type BreakerState } from '../../src/tiers/breaker.ts';

const COOLDOWN_MS = 1000;
const broken = new Error('backend is down');

function setUp(failureThreshold = 3) {
  const clock = { ms: 5000 };
  const breaker = new Breaker({
    failureThreshold,
    cooldownMs: COOLDOWN_MS,
    isFailure: (error) => !(error instanceof TypeError),
    now: () => clock.ms,
  });
  let calls = 0;
  return {
    clock,
    breaker,
    calls: () => calls,
    succeed: () => breaker.run(async () => ++calls),
    fail: (error: Error = broken) =>
      breaker.run(async () => {
        calls++;
        throw error;
      }),
    /** A call that ends when the test says so. */
    hold: () => {
      let resolve!: (value: string) => void;
      let reject!: (error: Error) => void;
      const held = new Promise<string>((...settle) => {
        [resolve, reject] = settle;
      });
      const result = breaker.run(() => {
        calls++;
        return held;
      });
      return { result, resolve, reject };
    },
  };
}

async function trip(s: ReturnType<typeof setUp>, times = 3): Promise<void> {
  for (let i = 0; i < times; i++) await s.fail().catch(() => {});
}

test('I8: a closed breaker hands over results and errors as they are', async (t) => {
  const s = setUp();
  t.is(await s.succeed(), 1);
  t.is(await t.throwsAsync(s.fail()), broken);
  t.is(s.breaker.state, 'closed');
  const thrown = await t.throwsAsync(
    s.breaker.run(() => {
      throw broken;
    }),
  );
  t.is(thrown, broken);
});

test('I8: failures in a row open it; an open breaker says so, with the cause, and does not call', async (t) => {
  const s = setUp();
  await trip(s, 2);
  t.is(s.breaker.state, 'closed');
  await trip(s, 1);
  t.is(s.breaker.state, 'open');
  s.clock.ms += 400;
  const error = await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError, code: 'ERR_BREAKER_OPEN' });
  t.is(error.name, 'BreakerOpenError');
  t.is(error.retryInMs, 600);
  t.is(error.cause, broken);
  t.is(s.calls(), 3);
});

test('I8: a success between failures starts the count anew', async (t) => {
  const s = setUp();
  for (let i = 0; i < 5; i++) {
    await trip(s, 2);
    await s.succeed();
  }
  t.is(s.breaker.state, 'closed');
});

test('I8: after the cooldown exactly one probe goes through, and its success closes the breaker', async (t) => {
  const s = setUp();
  await trip(s);
  s.clock.ms += COOLDOWN_MS - 1;
  t.is(s.breaker.state, 'open');
  s.clock.ms += 1;
  t.is(s.breaker.state, 'half-open');
  const probe = s.hold();
  await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(s.calls(), 4);
  probe.resolve('up again');
  t.is(await probe.result, 'up again');
  t.is(s.breaker.state, 'closed');
  await trip(s, 2);
  t.is(s.breaker.state, 'closed', 'the failures before the outage no longer count');
});

test('I8: a failed probe opens it for another whole cooldown', async (t) => {
  const s = setUp();
  await trip(s);
  s.clock.ms += COOLDOWN_MS;
  const later = new Error('still down');
  t.is(await t.throwsAsync(s.fail(later)), later);
  t.is(s.breaker.state, 'open');
  s.clock.ms += COOLDOWN_MS - 1;
  const error = await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(error.cause, later);
  s.clock.ms += 1;
  await s.succeed();
  t.is(s.breaker.state, 'closed');
});

test('I8: an error that says nothing of the backend is handed over but moves nothing', async (t) => {
  const s = setUp();
  const aborted = new TypeError('not the backend');
  for (let i = 0; i < 10; i++) t.is(await t.throwsAsync(s.fail(aborted)), aborted);
  t.is(s.breaker.state, 'closed');
  await trip(s, 2);
  await s.fail(aborted).catch(() => {});
  await trip(s, 1);
  t.is(s.breaker.state, 'open', 'it does not break a row of failures');
  s.clock.ms += COOLDOWN_MS;
  t.is(await t.throwsAsync(s.fail(aborted)), aborted);
  t.is(s.breaker.state, 'half-open');
  await s.succeed();
  t.is(s.breaker.state, 'closed', 'the next call probed');
});

test('I8: calls of an earlier state count for nothing when they end', async (t) => {
  const s = setUp();
  const stale = [s.hold(), s.hold(), s.hold()] as const;
  await trip(s);
  stale[0].resolve('late');
  await stale[0].result;
  t.is(s.breaker.state, 'open');
  s.clock.ms += COOLDOWN_MS;
  t.is(s.breaker.state, 'half-open');
  stale[1].resolve('later');
  await stale[1].result;
  t.is(s.breaker.state, 'half-open');
  stale[2].reject(broken);
  await t.throwsAsync(stale[2].result);
  t.is(s.breaker.state, 'half-open');
});

test('I8: a probe that hangs does not shut the backend out for good, and its late answer still counts', async (t) => {
  const s = setUp();
  await trip(s);
  s.clock.ms += COOLDOWN_MS;
  const hanging = s.hold();
  s.clock.ms += COOLDOWN_MS - 1;
  const error = await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(error.retryInMs, 1);
  s.clock.ms += 1;
  const second = s.hold();
  t.is(s.calls(), 5);
  hanging.resolve('slow');
  await hanging.result;
  t.is(s.breaker.state, 'closed');
  second.reject(broken);
  await t.throwsAsync(second.result);
  t.is(s.breaker.state, 'closed');
});

test('I8: any history of calls and waits behaves as the model of three states', async (t) => {
  const step = fc.oneof(fc.constantFrom('ok', 'fail', 'abort'), fc.integer({ min: 1, max: COOLDOWN_MS + 1 }));
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (threshold, steps) => {
        const s = setUp(threshold);
        let state: BreakerState = 'closed';
        let failures = 0;
        let openedAt = 0;
        for (const [index, next] of steps.entries()) {
          if (typeof next === 'number') {
            s.clock.ms += next;
          } else {
            const before = s.calls();
            const call = { ok: s.succeed, fail: s.fail, abort: () => s.fail(new TypeError()) }[next];
            await call().catch(() => {});
            t.is(s.calls() - before, state === 'open' ? 0 : 1, `step ${index}`);
            if (state !== 'open' && next !== 'abort') {
              failures = next === 'ok' ? 0 : failures + 1;
              if (next === 'ok') state = 'closed';
              else if (state === 'half-open' || failures >= threshold) {
                state = 'open';
                failures = 0;
                openedAt = s.clock.ms;
              }
            }
          }
          if (state === 'open' && s.clock.ms >= openedAt + COOLDOWN_MS) state = 'half-open';
          t.is(s.breaker.state, state, `step ${index}`);
        }
      },
    ),
  );
});

test('I10: options below their minimum are refused', (t) => {
  for (const bad of [0, -1, Number.NaN]) {
    t.throws(() => new Breaker({ failureThreshold: bad, cooldownMs: 1 }), { instanceOf: RangeError });
    t.throws(() => new Breaker({ failureThreshold: 1, cooldownMs: bad }), { instanceOf: RangeError });
  }
  t.is(new Breaker({ failureThreshold: 1, cooldownMs: 1 }).state, 'closed');
});
