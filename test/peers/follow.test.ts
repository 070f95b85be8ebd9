import test, { type ExecutionContext } from 'ava';
import { loadConfig, type Options } from '../../src/config.ts';
import { ConfigError, PeerRefusedError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import { follow, type PeerObserver } from '../../src/peers/follow.ts';
import { openPeer } from '../../src/peers/http-peer.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { readBacklog } from '../../src/redis/backlog.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startTestGateway } from '../helpers/gateway.ts';
import { createTwoSides, writeRows } from '../helpers/peers.ts';
import { closing, createSetting } from '../helpers/setting.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { startWorker } from '../helpers/worker-process.ts';

const log = createLogger('test', 'silent');
const first = (Date.now() - 60_000) * 1000;

async function setUp(t: ExecutionContext) {
  const { options, ...sides } = await createTwoSides(t);
  return { ...sides, options: { ...options, peerEveryMs: 100 } };
}

function following(t: ExecutionContext, options: Options) {
  const heard = { equal: 0, failed: 0, moved: 0 };
  const observer: PeerObserver = {
    compared(_peer, { equal, pulled, pushed }) {
      if (equal) heard.equal++;
      heard.moved += pulled.rows + pushed.rows;
    },
    failed: () => void heard.failed++,
  };
  closing(t, follow(loadConfig(options), log, observer));
  return heard;
}

test.serial(
  'I2: deployments that are followed become equal again after each divergence and outage of the link',
  async (t) => {
    const { own, other, link, options } = await setUp(t);
    const heard = following(t, options);
    await eventually(() => heard.equal > 0, 'two empty deployments are equal');
    await writeRows(own, [{ id: 'a', stamp: first, kind: 'json', body: '1' }]);
    await writeRows(other, [{ id: 'b', stamp: first, kind: 'json', body: '1', state: 'x' }]);
    const agree = async () => {
      const [rows, others] = await Promise.all([own, other].map((side) => storedRows(side.deployment.pool)));
      return rows?.length === 2 && JSON.stringify(rows) === JSON.stringify(others);
    };
    await eventually(agree, 'both have both');
    await link.refuse();
    await eventually(() => heard.failed > 0, 'an outage is told');
    await writeRows(own, [{ id: 'b', stamp: first + 1, kind: 'delete' }]);
    await writeRows(other, [{ id: 'a', stamp: first + 1, kind: 'state', state: 'y' }]);
    await link.open();
    await eventually(agree, 'both agree again');
    const before = heard.equal;
    await eventually(() => heard.equal > before, 'the repair has ended');
    const { moved, equal } = heard;
    await eventually(() => heard.equal > equal + 1, 'and they go on agreeing');
    t.is(heard.moved, moved);
  },
);

test.serial(
  'I4: a peer that was apart for longer than tombstones are kept is refused, with the way out',
  async (t) => {
    const { own, other, link } = await setUp(t);
    const here = own.use(await openLocalPeer(own.deployment.options));
    const there = openPeer(link.url, { token: 'peer' });
    t.teardown(() => there.close());
    t.true((await repair(here, there)).equal);
    await own.deployment.pool.query(`UPDATE peers SET equal_at = now() - interval '26 days'`);
    await writeRows(other, [{ id: 'a', stamp: first, kind: 'json', body: '1' }]);
    const { message } = await t.throwsAsync(repair(here, there), { instanceOf: PeerRefusedError });
    t.regex(message, /last equal on .*docs\/peers\.md/);
    t.deepEqual(await storedRows(own.deployment.pool), []);
    await own.deployment.pool.query(`UPDATE peers SET equal_at = now() - interval '20 days'`);
    t.like(await repair(here, there), { equal: true, pulled: { rows: 1 } });
  },
);

test.serial('tierline merkle diff and repair go to a configured peer', async (t) => {
  const { other, link, env } = await setUp(t);
  const ids = ['a', 'b', 'c'];
  await writeRows(
    other,
    ids.map((id, i) => ({ id, stamp: first + i, kind: 'json', body: '1' })),
  );
  const merkle = (...args: readonly string[]) => runCommand(env, ['merkle', ...args]);
  const differing = await merkle('diff', 'eu');
  t.is(differing.code, 1, differing.stderr);
  t.regex(differing.stdout, /^a +– +\d{16}$/m);
  const dry = await merkle('repair', link.url, '--dry-run', '--json');
  t.is(dry.code, 0, dry.stderr);
  t.like(jsonOf(dry.stdout)[0], { equal: false, left: 3, pulled: { rows: 3 } });
  const pushed = await merkle('repair', 'eu', '--direction', 'push');
  t.is(pushed.code, 1);
  t.regex(pushed.stdout, /^equal +no: rows are newer/m);
  const repaired = await merkle('repair', 'eu');
  t.is(repaired.code, 0, repaired.stderr);
  t.regex(repaired.stdout, /^pulled +3 rows/m);
  t.is((await merkle('diff', 'eu')).stdout, 'the live items of both agree\n');
  const unknown = await merkle('repair', 'us');
  t.is(unknown.code, 1);
  t.regex(unknown.stderr, /Name one of TIERLINE_PEERS.*: eu/);
});

test('a peer without a token, a name twice and a URL of another kind are refused', (t) => {
  const peers = [{ name: 'eu', url: 'https://eu.example.com' }];
  const refused = { instanceOf: ConfigError };
  const observer: PeerObserver = { compared: () => undefined, failed: () => undefined };
  t.throws(() => follow(loadConfig({ peers }), log, observer), { ...refused, message: /has no token/ });
  t.throws(() => loadConfig({ peers: [...peers, ...peers] }), {
    ...refused,
    message: /entry 2 has the name/,
  });
  t.throws(() => loadConfig({ peers: [{ name: 'eu', url: 'redis://x' }] }), {
    ...refused,
    message: /entry 1 has a URL/,
  });
});

for (const url of [
  'https://user:hunter2@eu.example.com',
  'https://:hunter2@eu.example.com',
  'https://hunter2@eu.example.com',
  'https://eu.example.com/?token=hunter2',
  'https://eu.example.com/#hunter2',
]) {
  test(`a URL of a peer that may hold a secret is refused, because pages show it: ${url}`, (t) => {
    const options = { instanceOf: ConfigError, message: /a user, a password, a query or a fragment/ };
    for (const load of [
      () => loadConfig({}, { TIERLINE_PEERS: `eu=${url}` }),
      () => loadConfig({ peers: [{ name: 'eu', url }] }, {}),
      () => openPeer(url, { token: 'x' }),
    ]) {
      t.notRegex(t.throws(load, options).message, /hunter2/);
    }
  });
}

test.serial('I12: maintenance stops its chores while rows of a peer wait for a drain worker', async (t) => {
  const [own, other] = await Promise.all([createSetting(t, ONE_LANE), createSetting(t, ONE_LANE)]);
  const gateway = await startTestGateway(t, other.deployment);
  await writeRows(other, [{ id: 'a', stamp: first, kind: 'json', body: '1' }]);
  const maintenance = await startWorker('maintenance', {
    ...own.deployment.env,
    TIERLINE_PEERS: `eu=${gateway.url}`,
    TIERLINE_PEER_TOKENS: 'eu=peer',
    TIERLINE_SHUTDOWN_MS: '3000',
  });
  t.teardown(() => maintenance.stop('SIGKILL'));
  const { redis, lanes } = own.deployment;
  await eventually(async () => (await readBacklog(redis, lanes)).chunksWaiting > 0, 'the row is queued');
  t.is(await maintenance.stop(), 0);
  t.regex(maintenance.output(), /maintenance stopped/);
});
