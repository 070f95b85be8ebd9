import test, { type ExecutionContext } from 'ava';
import { ChangesGoneError } from '../../src/errors.ts';
import { ChangeFeeds, type ChangePosition } from '../../src/gateway/change-feeds.ts';
import { ChangeFollower } from '../../src/gateway/change-follower.ts';
import { openStore } from '../../src/store/open-store.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Call, refusalOf, startTestGateway } from '../helpers/gateway.ts';
import { startProxy } from '../helpers/proxy.ts';
import { createSetting, closing } from '../helpers/setting.ts';

const PROBLEM = 'application/problem+json';
/** Of followers that are made without a gateway. Many writes settle meanwhile. */
const QUIET_MS = 500;

interface Event {
  readonly id: string | undefined;
  readonly event: string | undefined;
  readonly data: unknown;
}

interface Followed {
  readonly events: readonly Event[];
  /** The id of the last event. */
  place(): string;
  /** `kind id` of every change so far. */
  changes(): string[];
  isEnded(): boolean;
  close(): Promise<void>;
}

/** Follows as a browser does, by the rules of server-sent events. */
async function follow(call: Call, path: string, token: string, place?: string): Promise<Followed> {
  const controller = new AbortController();
  const response = await call(path, {
    token,
    signal: controller.signal,
    headers: place === undefined ? {} : { 'last-event-id': place },
  });
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
  const events: Event[] = [];
  let last = '';
  let isEnded = false;
  const reading = (async () => {
    let text = '';
    for await (const part of response.body as AsyncIterable<Uint8Array>) {
      text += Buffer.from(part).toString();
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const field = (name: string) =>
          block
            .split('\n')
            .find((line) => line.startsWith(`${name}: `))
            ?.slice(name.length + 2);
        const data = field('data');
        last = field('id') ?? last;
        events.push({
          id: field('id'),
          event: field('event'),
          data: data === undefined ? undefined : JSON.parse(data),
        });
      }
    }
    isEnded = true;
  })().catch(() => undefined);
  await eventually(() => last !== '', 'the place at the beginning');
  return {
    events,
    place: () => last,
    changes: () =>
      events.flatMap(({ event, data }) =>
        event === 'changes'
          ? (data as { id: string; kind: string }[]).map(({ id, kind }) => `${kind} ${id}`)
          : [],
      ),
    isEnded: () => isEnded,
    async close() {
      controller.abort();
      await reading;
    },
  };
}

test('changes come as they settle, and go on after the last that was seen', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/before?wait=settled', '1');
  const first = await follow(call, '/v1/changes', 'all');
  await send('PUT', '/v1/items/a?wait=settled', '1');
  await call('/v1/items/a?wait=settled', { method: 'DELETE' });
  await eventually(() => first.changes().length === 2, 'both changes');
  t.deepEqual(first.changes(), ['put a', 'delete a']);
  const place = first.place();
  await first.close();

  await send('PUT', '/v1/items/b?wait=settled', '1');
  const second = closing(t, await follow(call, '/v1/changes', 'all', place));
  await send('PUT', '/v1/items/c?wait=settled', '1');
  await eventually(() => second.changes().length === 2, 'the missed one and the new one');
  t.deepEqual(second.changes(), ['put b', 'put c']);
  const third = closing(t, await follow(call, `/v1/changes?after=${place}`, 'all'));
  await eventually(() => third.changes().length === 2, 'the place may stand in the query');
});

test('with several partitions the place is one of each, and no change is lost between two connections', async (t) => {
  const { deployment, drain } = await createSetting(t, { partitions: 4 });
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  let place: string | undefined;
  const seen: string[] = [];
  const ids = Array.from({ length: 24 }, (_, i) => `id.${i}`);
  for (let at = 0; at < ids.length; at += 6) {
    const followed = await follow(call, '/v1/changes', 'all', place);
    place ??= followed.place();
    // The first two are seen while it is connected, the others by the next one.
    for (const id of ids.slice(at, at + 2)) await send('PUT', `/v1/items/${id}?wait=settled`, '1');
    await eventually(() => followed.changes().length >= (at === 0 ? 2 : 6), 'the changes so far');
    seen.push(...followed.changes());
    place = followed.place();
    await followed.close();
    for (const id of ids.slice(at + 2, at + 6)) await send('PUT', `/v1/items/${id}?wait=settled`, '1');
  }
  const rest = closing(t, await follow(call, '/v1/changes', 'all', place));
  await eventually(() => rest.changes().length >= 4, 'the last ones');
  t.deepEqual([...seen, ...rest.changes()].toSorted(), ids.map((id) => `put ${id}`).toSorted());
});

test('a token that is confined to a prefix sees the changes of its ids alone', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const all = closing(t, await follow(call, '/v1/changes', 'all'));
  const shop = closing(t, await follow(call, '/v1/changes', 'shop'));
  const one = closing(t, await follow(call, '/v1/changes?prefix=shop.1', 'shop'));
  // The place of somebody else leads to nothing else either.
  const borrowed = closing(t, await follow(call, '/v1/changes', 'shop', all.place()));
  for (const id of ['other', 'shop.1', 'shop.2']) await send('PUT', `/v1/items/${id}?wait=settled`, '1');
  await eventually(() => all.changes().length === 3, 'all');
  await eventually(() => shop.changes().length === 2 && borrowed.changes().length === 2, 'those of the shop');
  t.deepEqual(shop.changes(), ['put shop.1', 'put shop.2']);
  t.deepEqual(borrowed.changes(), ['put shop.1', 'put shop.2']);
  t.deepEqual(one.changes(), ['put shop.1']);
  for (const prefix of ['', 'other']) {
    const beyond = await call(`/v1/changes?prefix=${prefix}`, { token: 'shop' });
    t.deepEqual(await refusalOf(beyond), [403, PROBLEM, 'ERR_ACCESS_DENIED']);
  }
});

test('a place that the feed no longer holds, or that was made up, is refused', async (t) => {
  const { deployment, drain } = await createSetting(t, { feedMaxEntries: 10, partitions: 1 });
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const followed = await follow(call, '/v1/changes', 'all');
  const place = followed.place();
  await send('PUT', '/v1/items/a?wait=settled', '1');
  await eventually(() => followed.changes().length === 1, 'the change');
  const later = followed.place();
  await followed.close();
  for (const made of [
    'x',
    '1.0000000000000000.0-0-0',
    `${place}.0-0-0`,
    place.replace(/-[\da-z]+$/, '-zz'),
  ]) {
    const [status, type, code] = await refusalOf(
      await call('/v1/changes', { headers: { 'last-event-id': made } }),
    );
    t.is(type, PROBLEM);
    t.true(
      (status === 400 && code === 'ERR_INVALID_ITEM') || (status === 410 && code === 'ERR_CHANGES_GONE'),
      made,
    );
  }
  t.regex(place, /-0$/, 'a place before the first entry');
  const again = await follow(call, '/v1/changes', 'all', place);
  await eventually(() => again.changes().length === 1, 'the first entry is still there');
  await again.close();
  // At first the feed holds nothing, and then what came after the entry that was missed.
  for (const id of [undefined, 'b']) {
    if (id === undefined) await deployment.redis.xtrim(deployment.keys.feed, 'MAXLEN', 0);
    else await send('PUT', `/v1/items/${id}?wait=settled`, '1');
    for (const missed of [place, later]) {
      const gone = await call('/v1/changes', { headers: { 'last-event-id': missed } });
      t.is(gone.status, 410, `${missed} ${id}`);
      t.deepEqual(await refusalOf(gone), [410, PROBLEM, 'ERR_CHANGES_GONE']);
    }
  }
});

test('I8: a follower that falls behind what the feed holds is told so, and skips nothing silently', async (t) => {
  const { deployment, drain, use } = await createSetting(t, { partitions: 1 });
  await drain();
  const feeds = use(await ChangeFeeds.open(deployment.config, deployment.log));
  const store = use(await openStore(deployment.options));
  const behind = new ChangeFollower(feeds, feeds.head, '', deployment.log);
  for (const id of ['a', 'b', 'c']) await (await store.submit({ id, content: 1 })).settled();
  await deployment.redis.xtrim(deployment.keys.feed, 'MAXLEN', 1);
  const signal = new AbortController().signal;
  await t.throwsAsync(
    async () => {
      for await (const { changes } of behind.batches(60_000, signal)) t.fail(JSON.stringify(changes));
    },
    { instanceOf: ChangesGoneError },
  );
  t.is(feeds.followers, 0);
});

/** Resolves with the next place that comes alone, and is after entry `number` of the first partition. */
async function placeAlone(
  t: ExecutionContext,
  follower: ChangeFollower,
  number = -1,
): Promise<ChangePosition> {
  for await (const { changes, position } of follower.batches(QUIET_MS, new AbortController().signal)) {
    t.deepEqual(changes, []);
    if (Number(position.lanes[0]?.number) > number) return position;
  }
  throw new Error('it ended');
}

test('a follower of a quiet prefix is told its place while other ids change without a pause', async (t) => {
  const { deployment, drain, use } = await createSetting(t, { partitions: 1 });
  await drain();
  const feeds = use(await ChangeFeeds.open(deployment.config, deployment.log));
  const store = use(await openStore(deployment.options));
  const { head } = feeds;
  const follower = new ChangeFollower(feeds, head, 'quiet.', deployment.log);
  let isTold = false;
  const telling = placeAlone(t, follower, head.lanes[0]?.number).finally(() => (isTold = true));
  await eventually(async () => {
    await (await store.submit({ id: 'busy', content: 1 })).settled();
    return isTold;
  }, 'it is told a place after what it does not want');
  const place = await telling;
  await t.notThrowsAsync(new ChangeFollower(feeds, place, '', deployment.log).check());
});

test('a follower is told its place while Redis is away', async (t) => {
  const { deployment, use } = await createSetting(t);
  const redis = use(await startProxy(deployment.options.redisUrl));
  const config = { ...deployment.config, redisUrl: redis.url };
  const feeds = use(await ChangeFeeds.open(config, deployment.log));
  const { head } = feeds;
  await redis.refuse();
  t.deepEqual(await placeAlone(t, new ChangeFollower(feeds, head, '', deployment.log)), head);
});

test('I8: when Redis loses its data, a stream says so and ends', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', '1');
  const followed = closing(t, await follow(call, '/v1/changes', 'all'));
  await send('PUT', '/v1/items/b?wait=settled', '1');
  await eventually(() => followed.changes().length === 1, 'it follows');
  await deployment.emptyRedis();
  await eventually(() => followed.isEnded(), 'it ends');
  const last = followed.events.at(-1);
  t.is(last?.event, 'gone');
  t.like(last?.data, { status: 410, code: 'ERR_CHANGES_GONE' });
});
