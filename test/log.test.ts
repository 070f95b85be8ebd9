import { Writable } from 'node:stream';
import test from 'ava';
import { TierUnavailableError } from '../src/errors.ts';
import { createLogger, type Logger } from '../src/log.ts';

function capture(write: (log: Logger) => void): string {
  let lines = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines += chunk.toString();
      done();
    },
  });
  write(createLogger('test', 'trace', stream));
  return lines;
}

const SECRET = 'hunter2';

for (const [name, write] of [
  ['a URL in a message', (log) => log.info(`cannot reach redis://user:${SECRET}@host:6379/0`)],
  ['a URL with a password alone', (log) => log.info(`rediss://:${SECRET}@host`)],
  ['a URL of a cluster', (log) => log.info(`rediss+cluster://u:${SECRET}@h1:7000,h2 is away`)],
  [
    'a URL of Sentinels',
    (log) => log.info(`redis+sentinel://u:${SECRET}@h1,h2/main?sentinelPassword=${SECRET}`),
  ],
  [
    'a Postgres URL in an error',
    (log) => log.warn({ err: new Error(`bad postgresql://me:${SECRET}@db/x`) }, 'failed'),
  ],
  [
    'a URL in the cause of an error',
    (log) =>
      log.warn({ err: new TierUnavailableError('l3', new Error(`postgres://me:${SECRET}@db`)) }, 'failed'),
  ],
  [
    'options',
    (log) => log.info({ redisUrl: SECRET, cacheRedisUrl: SECRET, databaseUrl: SECRET, merkleKey: SECRET }),
  ],
  ['replicas', (log) => log.info({ config: { replicas: [{ shard: 'main', url: SECRET }] } })],
  [
    'peers',
    (log) => log.info({ config: { peers: [{ name: 'eu', url: SECRET }], peerTokens: [{ token: SECRET }] } }),
  ],
  ['a URL of a peer', (log) => log.info(`cannot ask https://user:${SECRET}@eu.example.com/`)],
  ['options, nested', (log) => log.info({ config: { databaseUrl: SECRET, password: SECRET } })],
  ['an item', (log) => log.info({ item: { id: 'a', content: { card: SECRET } } })],
  [
    'an operation',
    (log) => log.info({ job: { data: { bodies: [SECRET] } }, op: { body: SECRET, payload: SECRET } }),
  ],
  [
    'the row that Postgres quotes',
    (log) =>
      log.error({
        err: Object.assign(new Error('violates check'), {
          code: '23514',
          detail: `Failing row: ${SECRET}`,
          where: SECRET,
        }),
      }),
  ],
] as const satisfies readonly (readonly [string, (log: Logger) => void])[]) {
  test(`no credentials or payloads in log lines: ${name}`, (t) => {
    const line = capture(write);
    t.true(line.length > 0);
    t.false(line.includes(SECRET), line);
  });
}

test('I8: an error keeps its class, code, message and cause', (t) => {
  const cause = Object.assign(new Error('connect refused'), { code: 'ECONNREFUSED' });
  const line = JSON.parse(
    capture((log) => log.error({ err: new TierUnavailableError('l3', cause) }, 'read failed')),
  ) as {
    err: { type: string; code: string; message: string; cause: object };
  };
  t.like(line.err, { type: 'TierUnavailableError', code: 'ERR_TIER_UNAVAILABLE' });
  t.true(line.err.message.includes('connect refused'));
  t.like(line.err.cause, { code: 'ECONNREFUSED', message: 'connect refused' });
});

test('what is thrown need not be an error', (t) => {
  t.like(JSON.parse(capture((log) => log.warn({ err: 'text' }))), { err: { message: 'text' } });
});
