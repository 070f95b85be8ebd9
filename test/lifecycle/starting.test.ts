import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { SettleTimeoutError, UnsafeServerError } from '../../src/errors.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { drainRights } from '../../src/postgres/server.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { spawnWorker } from '../helpers/worker-process.ts';
import { closing } from '../helpers/setting.ts';

const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

const WRONG_URLS = [
  ['DATABASE_URL', 'mysql://127.0.0.1/x', 'must start with postgres:// or postgresql://'],
  ['DATABASE_URL', 'postgres://u:p@127.0.0.1:port/x', 'is not a URL'],
  ['REDIS_URL', 'http://127.0.0.1', 'must start with redis://'],
] as const;

for (const name of ['drain', 'maintenance', 'dashboard', 'migrate'] as const) {
  test(`I8: ${name}: a wrong URL is told in one line, by its own name, and not as a stack`, async (t) => {
    for (const [variable, value, why] of WRONG_URLS) {
      const worker = spawnWorker(name, { ...deployment.env, [variable]: value });
      t.is(await worker.ended, 1);
      const lines = worker.output().trim().split('\n');
      t.is(lines.length, 1, worker.output());
      const { code, msg } = JSON.parse(lines[0] ?? '') as { code: string; msg: string };
      t.is(code, 'ERR_CONFIG');
      t.true(msg.includes(`${variable}: ${why}`), msg);
      t.false(worker.output().includes('    at '), worker.output());
    }
  });
}

test('I8: a drain whose role may not write is refused at its start, with the statement to run', async (t) => {
  const role = `reads_only_${deployment.options.namespace}`;
  await deployment.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  await deployment.pool.query(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}`);
  t.teardown(async () => {
    await deployment.pool.query(`DROP OWNED BY ${role}`);
    await deployment.pool.query(`DROP ROLE ${role}`);
  });
  const url = new URL(deployment.options.databaseUrl);
  [url.username, url.password] = [role, 'secret'];
  const options = { ...deployment.options, databaseUrl: url.href };
  const error = await t.throwsAsync(startDrain(options), { instanceOf: UnsafeServerError });
  t.regex(
    error?.message ?? '',
    new RegExp(`${role}.*INSERT on items.*GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES`),
  );

  const statement = /run: (GRANT [^;]*);/.exec(error?.message ?? '')?.[1] ?? '';
  await deployment.pool.query(statement);
  const drain = await startDrain(options);
  const producer = await openProducer(deployment.options);
  t.is((await (await producer.submit({ id: 'a', content: 1 })).settled()).status, 'applied');
  t.like(await (await producer.deletePrefix('a')).settled(), { deleted: 1, dead: 0 });
  await producer.close();
  await drain.close();
});

test.serial(
  'I8: a wait that runs out of its time says that no worker listens, when that is so',
  async (t) => {
    const other = closing(t, await createDeployment(ONE_LANE));
    const producer = closing(t, await openProducer(other.options));
    const ticket = await producer.submit({ id: 'a', content: 1 });
    const alone = await t.throwsAsync(ticket.settled({ timeoutMs: 10 }), { instanceOf: SettleTimeoutError });
    t.regex(alone?.message ?? '', /No worker listens to the queue/);

    const drain = await startDrain(other.options);
    await ticket.settled();
    // A range waits for what is in flight, so this one does not settle, with a worker there.
    await other.redis.zadd(other.keys.inflight, 1, 'held');
    const waiting = await producer.deletePrefix('a');
    const busy = await t.throwsAsync(waiting.settled({ timeoutMs: 300 }), { instanceOf: SettleTimeoutError });
    t.notRegex(busy?.message ?? '', /No worker/);
    await other.redis.zrem(other.keys.inflight, 'held');
    await drain.close();
  },
);

test('the rights that a drain asks for are enough for every kind of write', async (t) => {
  const own = await createDeployment(ONE_LANE);
  const role = `just_enough_${own.options.namespace}`;
  await own.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  const url = new URL(own.options.databaseUrl);
  [url.username, url.password] = [role, 'secret'];
  const pool = createPool(url.href, 1, own.log);
  t.teardown(async () => {
    await pool.end();
    await own.pool.query(`DROP OWNED BY ${role}`);
    await own.pool.query(`DROP ROLE ${role}`);
    await own.close();
  });
  const { missing } = await drainRights(pool);
  for (const right of missing) await own.pool.query(`GRANT ${right} TO ${role}`);
  const drain = await startDrain({ ...own.options, databaseUrl: url.href });
  const producer = await openProducer(own.options);
  const tickets = [
    await producer.submit({ id: 'b.1', content: 1, state: 'x' }),
    await producer.submit({ id: 'b.1', content: 2 }),
    await producer.setState('b.1', 'y'),
    await producer.setState('nobody', 'y'),
    await producer.delete('b.1'),
    await producer.submit({ id: 'b.2', content: 1, state: 'y' }),
  ];
  const outcomes = await Promise.all(tickets.map((ticket) => ticket.settled({ timeoutMs: 20_000 })));
  t.false(outcomes.some(({ status }) => status === 'dead'));
  t.like(await (await producer.deletePrefix('b.')).settled({ timeoutMs: 20_000 }), { deleted: 1, dead: 0 });
  await (await producer.submit({ id: 'b.3', content: 1, state: 'y' })).settled({ timeoutMs: 20_000 });
  t.like(await (await producer.deleteByState('y')).settled({ timeoutMs: 20_000 }), { deleted: 1, dead: 0 });
  await producer.close();
  await drain.close();
});
