import test, { type ExecutionContext } from 'ava';
import { loadConfig, type Options } from '../src/config.ts';
import { OPTIONS } from '../src/options.ts';
import { ConfigError } from '../src/errors.ts';

test('an empty environment gives the documented defaults', (t) => {
  const config = loadConfig({}, {});
  t.like(config, {
    redisUrl: 'redis://127.0.0.1:6379',
    namespace: 'tierline',
    chunkMaxItems: 500,
    logLevel: 'info',
  });
  t.is(config.cacheRedisUrl, undefined);
  t.deepEqual(Object.keys(config).toSorted(), Object.keys(OPTIONS).toSorted());
});

test('the environment is read, numbers included; an option given in code wins', (t) => {
  const environment = {
    REDIS_URL: 'rediss://r:1',
    TIERLINE_CHUNK_MAX_ITEMS: '7',
    TIERLINE_NAMESPACE: 'a-b.c_d',
    OTHER: 'x',
  };
  const config = loadConfig({ chunkMaxItems: 9 }, environment);
  t.like(config, { redisUrl: 'rediss://r:1', chunkMaxItems: 9, namespace: 'a-b.c_d' });
  t.is(loadConfig({ chunkMaxItems: undefined }, environment).chunkMaxItems, 7);
});

test('an empty variable counts as unset', (t) => {
  const config = loadConfig({}, { REDIS_URL: '', TIERLINE_CHUNK_WAIT_MS: '', CACHE_REDIS_URL: '' });
  t.like(config, { redisUrl: 'redis://127.0.0.1:6379', chunkWaitMs: 2 });
});

for (const [name, nearest] of [
  ['TIERLINE_NAMESPCE', 'TIERLINE_NAMESPACE'],
  ['TIERLINE_CHUNK_MAXITEMS', 'TIERLINE_CHUNK_MAX_ITEMS'],
  ['TIERLINE_LOGLEVEL', 'TIERLINE_LOG_LEVEL'],
] as const) {
  test(`a near miss of an option is refused with its name: ${name}`, (t) => {
    const error = t.throws(() => loadConfig({}, { [name]: '1' }), {
      instanceOf: ConfigError,
      code: 'ERR_CONFIG',
    });
    t.true(error?.message.includes(`${name} is not an option; did you mean ${nearest}?`), error?.message);
  });
}

test('an unknown option in code is refused with the nearest', (t) => {
  const error = t.throws(() => loadConfig({ namespce: 'a' } as Options, {}), { instanceOf: ConfigError });
  t.true(error?.message.includes('did you mean namespace?'), error?.message);
});

for (const [name, value] of [
  ['REDIS_URL', 'http://127.0.0.1'],
  ['DATABASE_URL', 'mysql://127.0.0.1/x'],
  ['TIERLINE_NAMESPACE', 'a b'],
  ['TIERLINE_NAMESPACE', '{a}'],
  ['TIERLINE_LOG_LEVEL', 'loud'],
  ['TIERLINE_MERKLE_KEY', 'short'],
  ['TIERLINE_CHUNK_MAX_ITEMS', '0'],
  ['TIERLINE_CHUNK_MAX_ITEMS', '5001'],
  ['TIERLINE_CHUNK_MAX_ITEMS', '2.5'],
  ['TIERLINE_CHUNK_MAX_ITEMS', 'many'],
  ['TIERLINE_SHUTDOWN_MS', '-1'],
  ['TIERLINE_METRICS_PORT', ' '],
  ['TIERLINE_ENQUEUE_REPLICAS', '\t'],
  ['TIERLINE_METRICS_TOKEN', 'correct horse battery staple'],
] as const) {
  test(`a value that cannot be used is refused by name: ${name}=${value}`, (t) => {
    const error = t.throws(() => loadConfig({}, { [name]: value }), { instanceOf: ConfigError });
    t.true(error?.message.includes(name), error?.message);
  });
}

const MAX_TIMER_MS = 2 ** 31 - 1;
for (const name of [
  'shutdownMs',
  'gatewayBodyTimeoutMs',
  'peerEveryMs',
  'chunkLockMs',
  'l2TimeoutMs',
  'l3TimeoutMs',
] as const) {
  test(`a time that Node would take for 1 ms is refused: ${name}`, (t) => {
    t.is(loadConfig({ [name]: MAX_TIMER_MS }, {})[name], MAX_TIMER_MS);
    const error = t.throws(() => loadConfig({ [name]: MAX_TIMER_MS + 1 }, {}), { instanceOf: ConfigError });
    t.regex(error.message, new RegExp(`${name}: .*${MAX_TIMER_MS}`));
  });
}

test('a time that no timer waits for may be longer', (t) => {
  t.is(loadConfig({ purgeAfterMs: 2 * MAX_TIMER_MS }, {}).purgeAfterMs, 2 * MAX_TIMER_MS);
});

for (const url of ['postgres://u:p@h:port/d', 'postgres://u:%zz@h/d', 'postgres://h:70000/d']) {
  test(`a database URL that is none is refused by name, whatever is wrong: ${url}`, (t) => {
    const error = t.throws(() => loadConfig({}, { DATABASE_URL: url }), { instanceOf: ConfigError });
    t.regex(error?.message ?? '', /DATABASE_URL: is not a URL/);
    const redis = url.replace('postgres', 'redis');
    t.regex(t.throws(() => loadConfig({}, { REDIS_URL: redis })).message, /REDIS_URL: is not a URL/);
  });
}

test('URLs that drivers take are taken', (t) => {
  for (const url of [
    'postgres://user:p%40ss@host:5432/db?sslmode=require',
    'postgresql://%2Fvar%2Frun%2Fpostgresql/db',
    'postgres:///db?host=/var/run/postgresql',
  ]) {
    t.is(loadConfig({}, { DATABASE_URL: url }).databaseUrl, url);
  }
  for (const url of ['redis://127.0.0.1', 'rediss://:p%40ss@host:6380/2', 'redis://[::1]:6379']) {
    t.is(loadConfig({}, { REDIS_URL: url }).redisUrl, url);
  }
});

const SERVICE = (name: string, port: number) => ({
  [`${name}_SERVICE_HOST`]: '10.0.0.1',
  [`${name}_SERVICE_PORT`]: `${port}`,
  [`${name}_SERVICE_PORT_HTTP`]: `${port}`,
  [`${name}_PORT`]: `tcp://10.0.0.1:${port}`,
  [`${name}_PORT_${port}_TCP`]: `tcp://10.0.0.1:${port}`,
  [`${name}_PORT_${port}_TCP_PROTO`]: 'tcp',
  [`${name}_PORT_${port}_TCP_PORT`]: `${port}`,
  [`${name}_PORT_${port}_TCP_ADDR`]: '10.0.0.1',
});

test.serial('what Kubernetes and Docker set for services named like us is not ours', (t) => {
  const warnings = heard(t);
  for (const name of ['TIERLINE', 'TIERLINE_DASHBOARD', 'TIERLINE_METRICS', 'TIERLINE_DRAIN_2']) {
    const config = loadConfig(
      {},
      {
        ...SERVICE(name, 80),
        [`${name}_NAME`]: '/web/tierline',
        [`${name}_ENV_PATH`]: '/usr/bin',
      },
    );
    t.like(config, { dashboardPort: 3000, metricsPort: undefined });
  }
  t.deepEqual(warnings(), []);
  t.is(loadConfig({}, { ...SERVICE('TIERLINE', 80), TIERLINE_DASHBOARD_PORT: '81' }).dashboardPort, 81);
});

test.serial('a name that is near no option is warned of once and ignored', async (t) => {
  const warnings = heard(t);
  for (let i = 0; i < 3; i++)
    t.is(loadConfig({}, { TIERLINE_TEAM: 'a', TIERLINE_X: '1' }).namespace, 'tierline');
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(warnings(), [
    'TIERLINE_TEAM is not an option of Tierline: it is ignored.',
    'TIERLINE_X is not an option of Tierline: it is ignored.',
  ]);
});

/** Tierline's warnings of this process from now on. */
function heard(t: ExecutionContext): () => readonly string[] {
  const messages: string[] = [];
  const listen = ({ name, message }: Error) => {
    if (name === 'TierlineWarning') messages.push(message);
  };
  process.on('warning', listen);
  t.teardown(() => process.off('warning', listen));
  return () => messages;
}

function replicasOf(value: string) {
  return loadConfig({}, { TIERLINE_REPLICAS: value }).replicas;
}

test('replicas are a list of URLs, each with the name of its shard or none', (t) => {
  const a = 'postgres://u:p%2C,q@h1:5433/db?sslmode=require';
  t.deepEqual(replicasOf(a), [{ shard: 'main', url: a }]);
  t.deepEqual(replicasOf(`main=${a}, postgresql://h2/db,main=postgres://h3/db`), [
    { shard: 'main', url: a },
    { shard: 'main', url: 'postgresql://h2/db' },
    { shard: 'main', url: 'postgres://h3/db' },
  ]);
  t.deepEqual(loadConfig({}, {}).replicas, []);
  t.deepEqual(loadConfig({ replicas: [{ shard: 'main', url: a }] }, {}).replicas, [
    { shard: 'main', url: a },
  ]);
});

for (const [value, message] of [
  ['b=postgres://u:hunter2@h/db', /entry 1 names the shard "b", which does not exist; .*main=postgres/],
  ['postgres://h/db,main=mysql://u:hunter2@h/db', /: entry 2 must start with postgres/],
  ['main=hunter2', /entry 1 must start with postgres:\/\/.*; write main=postgres/],
  ['postgres://h/db,b=postgres://u:hunter2@h/db', /entry 2 names the shard "b"/],
  ['postgres://u:hunter2%@h/db', /entry 1 is not a URL/],
] as const) {
  test(`a list of replicas that cannot be used is refused, and no password is shown: ${value}`, (t) => {
    const error = t.throws(() => loadConfig({}, { TIERLINE_REPLICAS: value }), { instanceOf: ConfigError });
    t.regex(error?.message ?? '', /TIERLINE_REPLICAS: /);
    t.regex(error?.message ?? '', message);
    t.notRegex(error?.message ?? '', /hunter2/);
  });
}

test('all problems are told at once, and no message repeats a value that may be secret', (t) => {
  const environment = {
    TIERLINE_MERKLE_KEY: 'tiny-secret',
    REDIS_URL: 'redis-secret',
    TIERLINE_POOL_SIZE: '0',
    TIERLINE_NAMESPCE: '1',
  };
  const error = t.throws(() => loadConfig({}, environment), { instanceOf: ConfigError });
  for (const name of Object.keys(environment)) t.true(error?.message.includes(name), name);
  t.false(error?.message.includes('secret'));
});

test('every option says what it is for and in which unit', (t) => {
  for (const [key, { env, unit, doc }] of Object.entries(OPTIONS)) {
    t.true(/^(TIERLINE_[A-Z0-9_]+|REDIS_URL|CACHE_REDIS_URL|DATABASE_URL)$/.test(env), key);
    t.true(unit.length > 0 && doc.endsWith('.'), key);
  }
});
