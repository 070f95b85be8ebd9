import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createLogger } from '../src/log.ts';
import { connectReader } from '../src/read/open-reader.ts';
import type { TieredReader } from '../src/read/tiered-reader.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startRedisCluster } from '../test/helpers/redis-cluster.ts';
import { startRedisServer } from '../test/helpers/redis-server.ts';
import { documents } from './documents.ts';
import { tierlineDrain } from './drain.ts';
import { type BenchOptions, type Emit, perSecond } from './metric.ts';
import { queueCeiling } from './queue-ceiling.ts';
import { usEach, warm } from './read.ts';
import { figure, inRounds } from './rounds.ts';
import { emitUsage, type Usage } from './usage.ts';

const PARTITIONS = 8;
const CALL = 500;
const CPU_KINDS = ['worker_cpu_us', 'redis_cpu_us', 'postgres_cpu_us', 'client_cpu_us'] as const;
const READ_IDS = 20_000;
/** As of a queue in production, and with time enough for a busy machine: no master is to fail over. */
const SETTINGS = { appendfsync: 'everysec' };
const CLUSTER_SETTINGS = { ...SETTINGS, 'cluster-node-timeout': '15000' };

/** What partitions and a cluster cost. One Redis and the cluster take turns: the machine is not as fast from one minute to the next. */
export async function partitionsBench(
  emit: Emit,
  { items: count = 100_000, before }: BenchOptions,
): Promise<void> {
  emit('p1_ratio', before === undefined ? await askedForRatio(count) : await beforeRatio(count, before), 'x');
  const server = await startRedisServer(SETTINGS);
  // Neither side has replicas: one doubles what Redis does for a write, on a cluster and without.
  const cluster = await startRedisCluster(CLUSTER_SETTINGS, { replicas: 0 });
  // Copies lie beside the queue in both: a cluster serves both.
  const one = await createDeployment({ partitions: 1, redisUrl: server.url, cacheRedisUrl: server.url });
  const many = await createDeployment({
    partitions: PARTITIONS,
    redisUrl: cluster.url,
    cacheRedisUrl: cluster.url,
  });
  try {
    const [onOne, onCluster] = await inTurns(count, one, many);
    emit('one_redis_drain_items_per_s', onOne.perSecond, 'items/s');
    emit('cluster_drain_items_per_s', onCluster.perSecond, 'items/s');
    emitUsage(emit, onOne.usages, count, { prefix: 'one_redis_', kinds: CPU_KINDS });
    emitUsage(emit, onCluster.usages, count, { prefix: 'cluster_', kinds: CPU_KINDS });
    emit('cluster_drain_ratio', onCluster.perSecond / onOne.perSecond, 'x');
    await mgets(emit, one, many, count);
    await queueCeiling(emit, many, count);
  } finally {
    await one.close();
    await many.close();
    await cluster.close();
    await server.close();
  }
}

interface DrainRate {
  readonly perSecond: number;
  readonly usages: readonly Usage[];
}

/** How two deployments drain, measured twice each as a b b a. */
async function inTurns(count: number, a: Deployment, b: Deployment): Promise<[DrainRate, DrainRate]> {
  const usages = new Map<Deployment, Usage[]>([
    [a, []],
    [b, []],
  ]);
  for (const [turn, deployment] of [a, b, b, a].entries()) {
    usages.get(deployment)?.push(await tierlineDrain(deployment, documents(count, `turn${turn}`)));
  }
  const rateOf = (deployment: Deployment): DrainRate => {
    const own = usages.get(deployment) ?? [];
    const ms = own.reduce((total, usage) => total + usage.ms, 0);
    return { perSecond: perSecond(own.length * count, ms), usages: own };
  };
  return [rateOf(a), rateOf(b)];
}

/** One partition that is asked for, against the default. It is the same code: this tells how steady the machine is. */
async function askedForRatio(count: number): Promise<number> {
  const asked = await createDeployment({ partitions: 1 });
  const byDefault = await createDeployment({ partitions: 1 });
  try {
    asked.env['TIERLINE_PARTITIONS'] = '1';
    const [rate, expected] = await inTurns(count, asked, byDefault);
    return rate.perSecond / expected.perSecond;
  } finally {
    await asked.close();
    await byDefault.close();
  }
}

/** The drain bench of this checkout against that of an earlier one, twice each in turns. */
async function beforeRatio(count: number, before: string): Promise<number> {
  const rateIn = async (folder: string) => {
    const args = ['--expose-gc', 'dist/bench/run.js', 'drain', '--json', '--items', `${count}`];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder });
    const lines = stdout.trim().split('\n');
    const found = lines.map((line) => JSON.parse(line) as { metric: string; value: number });
    return found.find(({ metric }) => metric === 'items_per_s')?.value ?? 0;
  };
  let [ours, theirs] = [0, 0];
  for (const folder of ['.', before, before, '.']) {
    const rate = await rateIn(folder);
    if (folder === '.') ours += rate;
    else theirs += rate;
  }
  return ours / theirs;
}

/** Reads of items that are in L2, with nothing in L1. */
async function mgets(emit: Emit, one: Deployment, many: Deployment, count: number): Promise<void> {
  const ids = documents(Math.min(count, READ_IDS), 'turn0').map(({ id }) => id);
  const others = documents(Math.min(count, READ_IDS), 'turn1').map(({ id }) => id);
  const [fromOne, fromCluster] = [await readerOf(one), await readerOf(many)];
  try {
    await warm(fromOne, ids);
    await warm(fromCluster, others);
    const us = await inRounds({
      one: usEach(ids.length, () => readAll(fromOne, ids)),
      cluster: usEach(ids.length, () => readAll(fromCluster, others)),
    });
    emit(
      'one_redis_get_many_per_s',
      figure(us, ({ one }) => 1e6 / one),
      '1/s',
    );
    emit(
      'cluster_get_many_per_s',
      figure(us, ({ cluster }) => 1e6 / cluster),
      '1/s',
    );
    emit(
      'cluster_mget_ratio',
      figure(us, ({ one, cluster }) => one / cluster),
      'x',
    );
  } finally {
    await fromOne.close();
    await fromCluster.close();
  }
}

function readerOf({ config }: Deployment): Promise<TieredReader> {
  return connectReader({ ...config, l1MaxBytes: 0, filterMaxBytes: 0 }, createLogger('bench', 'silent'));
}

async function readAll(reader: TieredReader, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += CALL) await reader.getMany(ids.slice(at, at + CALL));
}
