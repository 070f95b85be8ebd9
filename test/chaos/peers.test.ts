import test, { type ExecutionContext } from 'ava';
import { merkleRoot, tombstoneWeeks } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startTestGateway } from '../helpers/gateway.ts';
import type { ModelRow } from '../helpers/model.ts';
import { type PoorLink, startPoorLink } from '../helpers/poor-link.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { Random } from '../helpers/random.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { startWorker, type WorkerProcess } from '../helpers/worker-process.ts';

const IDS = Array.from({ length: 300 }, (_, i) => `cut.${i % 7}.${i}`);
const STATES = ['default', 'open', 'closed'];
const PATIENCE_MS = 180_000;

interface Side<Link extends Proxy | PoorLink = Proxy | PoorLink> {
  readonly deployment: Deployment;
  readonly store: Store;
  /** The way to this side's gateway. */
  readonly link: Link;
}

async function openSide<Link extends Proxy | PoorLink>(
  t: ExecutionContext,
  startLink: (gatewayUrl: string) => Promise<Link>,
): Promise<Side<Link>> {
  const deployment = await createDeployment({ ...ONE_LANE, chunkLockMs: 2000 });
  t.teardown(() => deployment.close());
  const gateway = await startTestGateway(t, deployment);
  const link = await startLink(gateway.url);
  t.teardown(() => link.close());
  const store = await openStore(deployment.options);
  t.teardown(() => store.close());
  return { deployment, store, link };
}

/** `drain` stores the writes of one side, `maintenance` follows the other side. */
async function startProcess(
  name: 'drain' | 'maintenance',
  { deployment }: Side,
  other: Side,
): Promise<WorkerProcess> {
  return startWorker(name, {
    ...deployment.env,
    TIERLINE_CHUNK_LOCK_MS: '2000',
    TIERLINE_PEERS: `other=${other.link.url}`,
    TIERLINE_PEER_TOKENS: 'other=peer',
    TIERLINE_PEER_EVERY_MS: '300',
  });
}

function startProcesses(side: Side, other: Side): Promise<WorkerProcess[]> {
  return Promise.all([startProcess('drain', side, other), startProcess('maintenance', side, other)]);
}

test.serial(
  'I2 I4 I5: two deployments that diverged while their link was cut are equal after it is back, under continuing writes and kills',
  async (t) => {
    const sides = await Promise.all([openSide(t, startProxy), openSide(t, startProxy)]);
    const [a, b] = sides;
    let processes = await startProcesses(a, b);
    const others = await startProcesses(b, a);
    t.teardown(() => Promise.all([...processes, ...others].map((one) => one.stop())).then(() => undefined));

    await a.store.submitMany(IDS.map((id) => ({ id, content: 'seed' })));
    await a.store.flush();
    await eventually(() => agree(sides), 'the seed has reached the other side', PATIENCE_MS);

    await Promise.all(sides.map(({ link }) => link.refuse()));
    await Promise.all(sides.map(({ store }, i) => diverge(store, new Random(i + 1))));
    const before = await Promise.all(sides.map(({ deployment }) => storedRows(deployment.pool)));
    t.notDeepEqual(before[0], before[1]);

    const writing = sides.map(({ store }, i) => keepWriting(store, i));
    await Promise.all(sides.map(({ link }) => link.open()));
    await Promise.all(processes.map((one) => one.stop('SIGKILL')));
    a.link.cut();
    b.link.cut();
    processes = await startProcesses(a, b);
    await becomeEqual(t, sides, before, writing);
  },
);

test.serial(
  'I2 I4 I5: two deployments are made equal over a link that is far away and drops connections, under continuing writes',
  async (t) => {
    const sides = await Promise.all([openSide(t, poorLink(1)), openSide(t, poorLink(2))]);
    const [a, b] = sides;
    const workers = await Promise.all([startProcess('drain', a, b), startProcess('drain', b, a)]);
    t.teardown(() => Promise.all(workers.map((one) => one.stop())).then(() => undefined));
    // All ids have rows on both sides, each side with stamps of its own.
    for (const { store } of sides) await store.submitMany(IDS.map((id) => ({ id, content: 'seed' })));
    await Promise.all(sides.map(({ store }, i) => diverge(store, new Random(i + 3))));
    const before = await Promise.all(sides.map(({ deployment }) => storedRows(deployment.pool)));
    t.notDeepEqual(before[0], before[1]);

    const writing = sides.map(({ store }, i) => keepWriting(store, i));
    workers.push(
      ...(await Promise.all([startProcess('maintenance', a, b), startProcess('maintenance', b, a)])),
    );
    await becomeEqual(t, sides, before, writing);
    t.true(a.link.dropped() + b.link.dropped() > 0);
  },
);

function poorLink(seed: number) {
  return (gatewayUrl: string) =>
    startPoorLink(gatewayUrl, { latencyMs: 200, dropRate: 0.05, random: new Random(seed) });
}

/**
 * Waits until what the sides had `before` is merged on both, while others are written, and until all is equal once the writes have
 * ended; then looks at the trees and the L2 copies.
 */
async function becomeEqual(
  t: ExecutionContext,
  sides: readonly Side[],
  before: readonly ModelRow[][],
  writing: readonly ReturnType<typeof keepWriting>[],
): Promise<void> {
  t.teardown(async () => void (await Promise.all(writing.map((one) => one.stop()))));
  const merged = merge(before[0] as ModelRow[], before[1] as ModelRow[]);
  await eventually(
    async () => {
      const rows = await Promise.all(sides.map(({ deployment }) => storedRows(deployment.pool)));
      return rows.every((found) => sameText(found.filter(isOfTheCut), merged));
    },
    'what differed is equal while others are written',
    PATIENCE_MS,
  );
  const written = (await Promise.all(writing.map((one) => one.stop()))).reduce((sum, n) => sum + n, 0);
  t.true(written > 0);
  await eventually(() => agree(sides), 'both are equal once the writes have ended', PATIENCE_MS);

  for (const { deployment } of sides) {
    const { pool, redis, keys } = deployment;
    t.deepEqual((await verifyMerkle(pool)).differences, []);
    const rows = await storedRows(pool);
    const copies = await storedCopies({ redis, keys }, rows);
    t.true(copies.some((copy) => copy !== undefined));
    rows.forEach((row, i) => {
      if (copies[i] !== undefined) t.deepEqual(copies[i], asCopy(row));
    });
  }
}

function isOfTheCut({ id }: { readonly id: string }): boolean {
  return id.startsWith('cut.');
}

/** Writes, deletes, states and range deletes, on ids of both sides. */
async function diverge(store: Store, random: Random): Promise<void> {
  for (let turn = 0; turn < 12; turn++) {
    const ids = random.shuffle(IDS).slice(0, 40);
    await store.submitMany(ids.slice(0, 20).map((id) => ({ id, content: `${turn}` })));
    await store.deleteMany(ids.slice(20, 30));
    await Promise.all(ids.slice(30).map((id) => store.setState(id, random.pick(STATES))));
    if (turn % 5 === 4) await (await store.deletePrefix(`cut.${random.upTo(7) - 1}.`)).settled();
    if (turn === 7) await (await store.deleteByState('closed')).settled();
  }
  await store.flush();
}

/** Writes other ids until it is stopped; returns how many. */
function keepWriting(store: Store, side: number) {
  const stopping = new AbortController();
  let written = 0;
  const run = async () => {
    while (!stopping.signal.aborted) {
      const id = `live.${written % 50}`;
      await (written % 9 === 8 ? store.delete(id) : store.submit({ id, content: `${side}.${written}` }));
      written++;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await store.flush();
    return written;
  };
  const running = run();
  return {
    stop() {
      stopping.abort();
      return running;
    },
  };
}

/** Both registers by the larger stamp, from what each side had. */
function merge(own: readonly ModelRow[], others: readonly ModelRow[]): ModelRow[] {
  const theirs = new Map(others.map((row) => [row.id, row]));
  return own.filter(isOfTheCut).map((row) => {
    const other = theirs.get(row.id) ?? row;
    const content = other.contentVersion > row.contentVersion ? other : row;
    const state = other.stateVersion > row.stateVersion ? other : row;
    const newest = Math.max(content.contentVersion, state.stateVersion);
    return {
      ...content,
      stateVersion: state.stateVersion,
      state: state.state,
      stateDigest: state.stateDigest,
      digest: xor(content.digest, content.stateDigest, state.stateDigest),
      tombstoneWeek: content.deleted ? 1 + Math.floor(newest / 604_800_000_000) : 0,
    };
  });
}

function xor(...digests: readonly string[]): string {
  const sum = digests.reduce((all, digest) => all ^ BigInt(`0x${digest}`), 0n);
  return sum.toString(16).padStart(32, '0');
}

function sameText(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether rows, roots and tombstones of both sides are the same. */
async function agree(sides: readonly Side[]): Promise<boolean> {
  const found = await Promise.all(
    sides.map(async ({ deployment: { pool } }) => ({
      rows: await storedRows(pool),
      root: await merkleRoot(pool),
      weeks: await tombstoneWeeks(pool),
    })),
  );
  const [own, other] = found;
  return own !== undefined && own.rows.length > 0 && sameText(own, other);
}
