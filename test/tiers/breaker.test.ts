import test, { type ExecutionContext } from 'ava';
import * as fc from 'fast-check';
import { Breaker, BreakerOpenError } from '../../src/tiers/breaker.ts';

const COOLDOWN_MS = 1000;
const broken = new Error('backend is down');

function setUp(failureThreshold = 3) {
  const clock = { ms: 5000 };
  const breaker = new Breaker({
    failureThreshold,
    cooldownMs: COOLDOWN_MS,
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

/** Two calls at once go through. */
async function isClosed(t: ExecutionContext, s: ReturnType<typeof setUp>, why?: string): Promise<void> {
  const before = s.calls();
  await Promise.allSettled([s.succeed(), s.succeed()]);
  t.is(s.calls(), before + 2, why);
}

/** No call goes through: it is open, or a probe is on its way. */
async function rejects(t: ExecutionContext, s: ReturnType<typeof setUp>): Promise<void> {
  const before = s.calls();
  await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(s.calls(), before);
}

test('I8: a closed breaker hands over results and errors as they are', async (t) => {
  const s = setUp();
  t.is(await s.succeed(), 1);
  t.is(await t.throwsAsync(s.fail()), broken);
  await isClosed(t, s);
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
  await trip(s, 1);
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
  await isClosed(t, s);
});

test('I8: after the cooldown exactly one probe goes through, and its success closes the breaker', async (t) => {
  const s = setUp();
  await trip(s);
  s.clock.ms += COOLDOWN_MS - 1;
  await rejects(t, s);
  s.clock.ms += 1;
  const probe = s.hold();
  await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(s.calls(), 4);
  probe.resolve('up again');
  t.is(await probe.result, 'up again');
  await trip(s, 2);
  await isClosed(t, s, 'the failures before the outage no longer count');
});

test('I8: a failed probe opens it for another whole cooldown', async (t) => {
  const s = setUp();
  await trip(s);
  s.clock.ms += COOLDOWN_MS;
  const later = new Error('still down');
  t.is(await t.throwsAsync(s.fail(later)), later);
  s.clock.ms += COOLDOWN_MS - 1;
  const error = await t.throwsAsync(s.succeed(), { instanceOf: BreakerOpenError });
  t.is(error.cause, later);
  s.clock.ms += 1;
  await s.succeed();
  await isClosed(t, s);
});

test('I8: calls of an earlier state count for nothing when they end', async (t) => {
  const s = setUp();
  const stale = [s.hold(), s.hold(), s.hold()] as const;
  await trip(s);
  stale[0].resolve('late');
  await stale[0].result;
  await rejects(t, s);
  s.clock.ms += COOLDOWN_MS;
  const probe = s.hold();
  stale[1].resolve('later');
  await stale[1].result;
  await rejects(t, s);
  stale[2].reject(broken);
  await t.throwsAsync(stale[2].result);
  await rejects(t, s);
  probe.resolve('up again');
  await probe.result;
  await isClosed(t, s, 'only the probe counts');
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
  await isClosed(t, s);
  second.reject(broken);
  await t.throwsAsync(second.result);
  await isClosed(t, s);
});

test('I8: any history of calls and waits behaves as the model of three states', async (t) => {
  const step = fc.oneof(fc.constantFrom('ok', 'fail'), fc.integer({ min: 1, max: COOLDOWN_MS + 1 }));
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (threshold, steps) => {
        const s = setUp(threshold);
        let state: 'closed' | 'open' | 'half-open' = 'closed';
        let failures = 0;
        let openedAt = 0;
        for (const [index, next] of steps.entries()) {
          if (typeof next === 'number') {
            s.clock.ms += next;
          } else {
            const before = s.calls();
            const call = { ok: s.succeed, fail: s.fail }[next];
            await call().catch(() => {});
            t.is(s.calls() - before, state === 'open' ? 0 : 1, `step ${index}`);
            if (state !== 'open') {
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
  t.notThrows(() => new Breaker({ failureThreshold: 1, cooldownMs: 1 }));
});
