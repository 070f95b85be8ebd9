import test, { type ExecutionContext } from 'ava';
import { refreshCopies } from '../../src/maintenance/copy-repair.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { eventually } from '../helpers/eventually.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const { deployment, use, drain } = await createSetting(t);
  const { redis, keys, shards, lanes } = deployment;
  await drain();
  const producer = use(await openProducer(deployment.options));
  // Reads go to L2 and L3.
  const reader = use(await openReader({ ...deployment.options, l1MaxBytes: 0, filterMaxBytes: 0 }));
  const copy = async (id: string) => (await redis.get(keys.item(id))) ?? '';
  return {
    producer,
    reader,
    copy,
    lifeMs: (id: string) => redis.pttl(keys.item(id)),
    drop: (id: string) => redis.del(keys.item(id)),
    /** What the sweep of the copies does with one that is older than its row. */
    refresh: (id: string) =>
      refreshCopies({ shards, lanes, cache: redis, items: deployment.items, config: deployment.config }, [
        id,
      ]),
    /** Reads until what was read before it has been filled in. */
    async untilFilled(id: string) {
      await eventually(async () => {
        await reader.get(id);
        return (await copy(id)).startsWith('1j');
      }, `a copy of ${id}`);
    },
  };
}

test('a durable item never comes into L2: not by setState, a read or the sweep, also once its fence is gone', async (t) => {
  const { producer, reader, copy, drop, refresh, untilFilled } = await setUp(t);
  const secret = 'kept out of Redis';
  await (await producer.submit({ id: 'd', content: 'copied' })).settled();
  await (await producer.submit({ id: 'd', content: secret }, { tiers: 'durable' })).settled();
  await producer.submit({ id: 'other', content: 1 });
  await (await producer.setState('d', 'open')).settled();
  t.like(await reader.get('d'), { content: secret, state: 'open' });
  t.regex(await copy('d'), /^1x/);
  t.false((await copy('d')).includes(secret));

  await drop('d');
  await drop('other');
  t.like(await reader.get('d'), { content: secret, state: 'open' });
  // Filled after it: what is read first is filled first.
  await untilFilled('other');
  t.false((await copy('d')).includes(secret), 'by a read');

  await (await producer.setState('d', 'shut')).settled();
  t.like(await reader.get('d'), { content: secret, state: 'shut' });
  t.false((await copy('d')).includes(secret), 'by setState, without a fence');

  await drop('d');
  await refresh('d');
  t.regex(await copy('d'), /^1x/, 'by the sweep');
  t.false((await copy('d')).includes(secret));

  await (await producer.submit({ id: 'd', content: 'copied again' })).settled();
  t.true((await copy('d')).includes('copied again'));
});

test('setState keeps the life of the copy', async (t) => {
  const { producer, copy, lifeMs } = await setUp(t);
  await (await producer.submit({ id: 'hour', content: 1 }, { ttlMs: 3_600_000 })).settled();
  await (await producer.submit({ id: 'endless', content: 1 })).settled();
  for (const id of ['hour', 'endless']) await (await producer.setState(id, 'open')).settled();
  t.regex(await copy('hour'), /open/);
  const life = await lifeMs('hour');
  t.true(life > 0 && life <= 3_600_000, String(life));
  t.regex(await copy('endless'), /open/);
  t.is(await lifeMs('endless'), -1);
});

test('an item of L2 alone has no row: setState misses it, and its state is that of its own write', async (t) => {
  const { producer, reader } = await setUp(t);
  await (await producer.submit({ id: 'c', content: 1, state: 'open' }, { tiers: 'cache' })).settled();
  t.is((await (await producer.setState('c', 'shut')).settled()).status, 'missing');
  t.like(await reader.get('c'), { content: 1, state: 'open' });

  await (await producer.submit({ id: 'both', content: 1, state: 'open' })).settled();
  await (await producer.submit({ id: 'both', content: 2 }, { tiers: 'cache' })).settled();
  t.like(await reader.get('both'), { content: 2, state: 'default' });
});
