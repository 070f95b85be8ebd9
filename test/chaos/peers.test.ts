import test, { type ExecutionContext } from 'ava';
import { merkleRoot, tombstoneWeeks } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startTestGateway } from '../helpers/gateway.ts';
import type { ModelRow } from '../helpers/model.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { Random } from '../helpers/random.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { startWorker, type WorkerProcess } from '../helpers/worker-process.ts';

const IDS = Array.from({ length: 300 }, (_, i) => `cut.${i % 7}.${i}`);
const STATES = ['default', 'open', 'closed'];
const PATIENCE_MS = 180_000;

interface Side {
  readonly deployment: Deployment;
  readonly store: Store;
  /** The way to this side's gateway. */
  readonly link: Proxy;
}

async function openSide(t: ExecutionContext): Promise<Side> {
  const deployment = await createDeployment({ ...ONE_LANE, chunkLockMs: 2000 });
  t.teardown(() => deployment.close());
  const gateway = await startTestGateway(t, deployment);
  const link = await startProxy(gateway.url);
  t.teardown(() => link.close());
  const store = await openStore(deployment.options);
  t.teardown(() => store.close());
  return { deployment, store, link };
}

/** The processes of one side: what stores its writes, and what follows the other side. */
function startProcesses({ deployment }: Side, other: Side): Promise<WorkerProcess[]> {
  const env = {
    ...deployment.env,
    TIERLINE_CHUNK_LOCK_MS: '2000',
    TIERLINE_PEERS: `other=${other.link.url}`,
    TIERLINE_PEER_TOKENS: 'other=peer',
    TIERLINE_PEER_EVERY_MS: '300',
  };
  return Promise.all([startWorker('drain', env), startWorker('maintenance', env)]);
}

test('I2 I4 I5: two deployments that diverged while their link was cut are equal after it is back, under continuing writes and kills', async (t) => {
  const sides = await Promise.all([openSide(t), openSide(t)]);
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
    rows.forEach((row, i) => {
      if (copies[i] !== undefined) t.deepEqual(copies[i], asCopy(row));
    });
  }
});

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
