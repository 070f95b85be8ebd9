import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { connectReader } from '../../src/read/open-reader.ts';
import type { TieredReader } from '../../src/read/tiered-reader.ts';
import { feedNumber } from '../../src/redis/feed.ts';
import type { Producer } from '../../src/types/write.ts';
import { type Deployment, createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { ObservedVersions } from '../helpers/observed-versions.ts';
import { type Replica, type Replication, startReplication } from '../helpers/postgres-replica.ts';
import { startProxy } from '../helpers/proxy.ts';
import { Random } from '../helpers/random.ts';

/** Reads of each reader; `npm run soak` makes more. */
const READS = Number(process.env.SOAK_READS ?? 2000);
const SEED = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const LOOPS = 4;
/** Written and never deleted: once settled, they are never absent. */
const KEPT = Array.from({ length: 8 }, (_, i) => `k.${i}`);
const DELETED = Array.from({ length: 4 }, (_, i) => `k.gone.${i}`);
const IDS = [...KEPT, ...DELETED];

let first: Replication;
let second: Replication;
test.before(async () => {
  [first, second] = await Promise.all([startReplication(2), startReplication(1)]);
});
test.after.always(() => Promise.all([first.close(), second.close()]));

/** A deployment, and a replica with the name of its shard for each URL that readers get. */
interface Layout {
  readonly options: Options;
  readonly replicas: readonly (readonly [shard: string, replica: Replica])[];
}

const LAYOUTS: Readonly<Record<string, () => Layout>> = {
  'two replicas of one database': () => ({
    options: { databaseUrl: first.primary.urlOf('postgres') },
    replicas: first.replicas.map((replica) => ['main', replica]),
  }),
  'a replica of each of two shards': () => ({
    options: {
      partitions: 4,
      shards: [
        { name: 'a', url: first.primary.urlOf('postgres') },
        { name: 'b', url: second.primary.urlOf('postgres') },
      ],
    },
    replicas: [
      ['a', first.replicas[0] as Replica],
      ['b', second.replicas[0] as Replica],
    ],
  }),
};

/** The newest version of each id that had settled and whose entry of the feed had reached every reader: reads that begin later are not older. */
class Told {
  readonly #versions = new Map<string, number>();

  note(id: string, version: number): void {
    this.#versions.set(id, Math.max(version, this.of(id)));
  }

  of(id: string): number {
    return this.#versions.get(id) ?? 0;
  }
}

for (const [name, layoutOf] of Object.entries(LAYOUTS)) {
  test.serial(
    `I6 I7: while ${name} stop and go, no read is older than one before it or than what the feed has told, and none denies what exists (SOAK_SEED=${SEED})`,
    async (t) => {
      await readWhileReplicasStop(t, layoutOf());
    },
  );
}

async function readWhileReplicasStop(t: ExecutionContext, layout: Layout): Promise<void> {
  const deployment = await createDeployment(layout.options);
  const replicas = layout.replicas.map(([, replica]) => replica);
  const urls = replicas.map((replica, i) => {
    const { url } = deployment.config.shards[i] ?? { url: deployment.config.databaseUrl };
    return replica.urlOf(new URL(url).pathname.slice(1));
  });
  const cut = await startProxy(urls[1] as string);
  const options = {
    ...deployment.config,
    filterMaxBytes: 0,
    l3TimeoutMs: 4000,
    replicas: layout.replicas.map(([shard], i) => ({ shard, url: i === 1 ? cut.url : (urls[i] as string) })),
  };
  const drain = await startDrain(deployment.options);
  const producer = await openProducer(deployment.options);
  const readers = [
    await connectReader({ ...options, l1MaxBytes: 0 }, deployment.log),
    await connectReader({ ...options, l1MaxBytes: 2048 }, deployment.log),
  ];
  t.teardown(async () => {
    await cut.open();
    for (const part of [...readers, producer, drain, cut]) await part.close();
    await deployment.close();
  });
  await (await producer.submitMany(IDS.map((id) => ({ id, content: 0 })))).settled();
  const told = new Told();

  const end = new AbortController();
  const random = new Random(SEED);
  const disturbing = Promise.all([
    stopAndGo(replicas, random, end.signal),
    holdUp(cut, random, end.signal),
    evict(deployment, end.signal),
  ]);
  const writing = Promise.all(
    [0, 1, 2].map(() => write(producer, told, random, end.signal, () => allTold(deployment, readers))),
  );
  const problems: string[] = [];
  try {
    await Promise.all(
      readers.flatMap((reader, r) => {
        const seen = new ObservedVersions();
        return Array.from({ length: LOOPS }, (_, i) =>
          readOn(reader, seen, told, new Random(SEED + 10 * r + i), problems),
        );
      }),
    );
  } finally {
    end.abort();
    await Promise.all([disturbing, writing]);
  }
  t.deepEqual(problems.slice(0, 5), []);
  for (const reader of readers) {
    t.true(reader.counters.replicas.hits > 0, 'replicas have answered');
    t.true(reader.counters.replicas.passedOn > 0, 'and have passed on');
  }
}

/** Replay of each replica is held and let go in turn. */
async function stopAndGo(replicas: readonly Replica[], random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const replica = random.pick(replicas);
    await replica.query('SELECT pg_wal_replay_pause()');
    await sleep(random.upTo(150));
    await replica.resume();
    await sleep(random.upTo(100));
  }
}

async function holdUp(proxy: Awaited<ReturnType<typeof startProxy>>, random: Random, signal: AbortSignal) {
  while (!signal.aborted) {
    await sleep(random.upTo(500));
    if (random.chance(0.5)) proxy.cut();
    else {
      proxy.freeze();
      await sleep(random.upTo(50));
      await proxy.open();
    }
  }
}

/** L2 keeps nothing for long, so that reads go on to Postgres. */
async function evict({ items }: Deployment, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await items.drop(IDS);
    await sleep(1);
  }
}

/** Resolves when the feed has told every reader what has settled by now. */
async function allTold({ redis, lanes }: Deployment, readers: readonly TieredReader[]): Promise<void> {
  const heads = await Promise.all(lanes.keys.map((keys) => feedNumber(redis, keys)));
  await eventually(
    () => readers.every((reader) => heads.every((head, partition) => reader.hasReached(head, partition))),
    'the feed has told every reader',
  );
}

async function write(
  producer: Producer,
  told: Told,
  random: Random,
  signal: AbortSignal,
  allTold: () => Promise<void>,
): Promise<void> {
  for (let n = 1; !signal.aborted; n++) {
    const dice = random.next();
    const id = random.pick(dice < 0.8 ? KEPT : DELETED);
    const ticket = dice < 0.9 ? await producer.submit({ id, content: n }) : await producer.delete(id);
    const { version } = await ticket.settled();
    await allTold();
    told.note(id, version);
    await sleep(random.upTo(10));
  }
}

async function readOn(
  reader: TieredReader,
  seen: ObservedVersions,
  told: Told,
  random: Random,
  problems: string[],
): Promise<void> {
  const note = (how: string, id: string, least: number, version: number | undefined) => {
    seen.note(id, version, how);
    problems.push(...seen.violations.splice(0));
    if (version === undefined && KEPT.includes(id)) problems.push(`${how} denied ${id}`);
    else if (version !== undefined && version < least)
      problems.push(`${how} gave ${id} at ${version}, not ${least}`);
  };
  while (seen.reads < READS) {
    const id = random.pick(IDS);
    const least = told.of(id);
    const dice = random.next();
    if (dice < 0.4) note('lookup', id, least, (await reader.lookup(id)).item?.version);
    else if (dice < 0.7) note('get', id, least, (await reader.get(id))?.version);
    else if (dice < 0.8)
      note('getMany', id, least, (await reader.getMany([id, random.pick(IDS)]))[0]?.version);
    else if (dice < 0.9) {
      // A page comes from the primary, and may show what has not settled.
      const { items } = await reader.getByPrefix('k.');
      for (const item of items) note('getByPrefix', item.id, 0, item.version);
    } else if (!(await reader.contains(id)) && KEPT.includes(id)) problems.push(`contains denied ${id}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
