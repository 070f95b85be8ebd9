import test from 'ava';
import { loadConfig } from '../src/config.ts';
import { ConfigError } from '../src/errors.ts';
import { serverOf } from '../src/log.ts';
import { parseRedisAddress } from '../src/redis-address.ts';

test('a single server keeps its URL as it is', (t) => {
  for (const url of ['redis://127.0.0.1', 'rediss://:p%40ss@host:6380/2', 'redis://[::1]:6379']) {
    t.deepEqual(parseRedisAddress(url), { kind: 'single', url });
  }
});

test('a cluster: any number of servers, user and password decoded, TLS', (t) => {
  t.deepEqual(parseRedisAddress('rediss+cluster://me:p%40ss@h1:7000,[::1]:7001,h3'), {
    kind: 'cluster',
    tls: true,
    username: 'me',
    password: 'p@ss',
    hosts: [
      { host: 'h1', port: 7000 },
      { host: '::1', port: 7001 },
      { host: 'h3', port: 6379 },
    ],
  });
  t.like(parseRedisAddress('redis+cluster://:secret@h/0'), {
    tls: false,
    username: undefined,
    password: 'secret',
  });
});

test('Sentinels: the name of the master, its database, and a password of their own', (t) => {
  t.deepEqual(parseRedisAddress('redis+sentinel://:pw@s1,s2:1/main/3?sentinelPassword=other'), {
    kind: 'sentinel',
    tls: false,
    username: undefined,
    password: 'pw',
    hosts: [
      { host: 's1', port: 26_379 },
      { host: 's2', port: 1 },
    ],
    name: 'main',
    db: 3,
    sentinelUsername: undefined,
    sentinelPassword: 'other',
  });
  t.like(parseRedisAddress('rediss+sentinel://s1/main'), { tls: true, name: 'main', db: 0 });
});

for (const [url, fix] of [
  ['http://h', /must start with redis:\/\/, redis\+sentinel:\/\/ or redis\+cluster:\/\//],
  ['redis://h1:7000,h2:7001', /start it with redis\+cluster:\/\/ or redis\+sentinel:\/\//],
  ['redis+cluster://', /host or host:port with commas/],
  ['redis+cluster://h1:99999', /host or host:port with commas/],
  ['redis+cluster://h1,,h2', /host or host:port with commas/],
  ['redis+cluster://h1/3', /database 0 alone, so leave the path out/],
  ['redis+cluster://h1?sentinelPassword=hunter2', /takes none/],
  ['redis+cluster://u:hunter2/x@h1', /commas|path/],
  ['redis+cluster://u:hunter%ZZ@h1', /special characters of user and password as %XX/],
  ['redis+sentinel://h1', /lacks the name of the master; write redis\+sentinel:/],
  ['redis+sentinel://h1/main/x', /db is a number/],
  ['redis+sentinel://h1/main?password=hunter2', /takes sentinelUsername and sentinelPassword/],
] as const) {
  test(`I8: ${url} is refused with the fix`, (t) => {
    const error = t.throws(() => loadConfig({}, { CACHE_REDIS_URL: url }), { instanceOf: ConfigError });
    t.regex(error.message, fix);
    t.regex(error.message, /CACHE_REDIS_URL/);
    t.notRegex(error.message, /hunter/);
  });
}

test('messages name the servers without user and password', (t) => {
  for (const [url, server] of [
    ['redis://u:hunter2@h:1/2', 'redis://h:1'],
    ['redis+cluster://u:hunter2@h1:7000,h2', 'redis+cluster://h1:7000,h2'],
    ['rediss+sentinel://:hunter2@s1,s2/main/1?sentinelPassword=hunter3', 'rediss+sentinel://s1,s2/main/1'],
  ] as const) {
    t.is(serverOf(url), server);
  }
});
