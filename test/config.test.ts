import test from 'ava';
import { loadConfig, OPTIONS, type Options } from '../src/config.ts';
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
  test(`an unknown name is refused with the nearest: ${name}`, (t) => {
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
] as const) {
  test(`a value that cannot be used is refused by name: ${name}=${value}`, (t) => {
    const error = t.throws(() => loadConfig({}, { [name]: value }), { instanceOf: ConfigError });
    t.true(error?.message.includes(name), error?.message);
  });
}

test('all problems are told at once, and no message repeats a value that may be secret', (t) => {
  const environment = {
    TIERLINE_MERKLE_KEY: 'tiny-secret',
    REDIS_URL: 'redis-secret',
    TIERLINE_POOL_SIZE: '0',
    TIERLINE_X: '1',
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
