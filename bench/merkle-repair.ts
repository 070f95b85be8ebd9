import { Digester } from '../src/merkle/digest.ts';
import { openPeer } from '../src/peers/http-peer.ts';
import { openLocalPeer } from '../src/peers/local-peer.ts';
import { repair } from '../src/merkle/repair.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { cpuUs } from './cpu.ts';
import { documents } from './documents.ts';
import { tierlineDrain, WARM_UP } from './drain.ts';
import { startGatewayProcess, TOKEN } from './gateway-process.ts';
import { type Emit, perSecond } from './metric.ts';
import { fill } from './stored-documents.ts';
import { emitUsage, type Usage, usageOf } from './usage.ts';

const WORKERS = 2;
const FIRST_STAMP = 1_700_000_000_000_000;
const CPU_KINDS = ['worker_cpu_us', 'redis_cpu_us', 'postgres_cpu_us', 'client_cpu_us'] as const;

/**
 * Rows that a peer lacks are pushed to it over HTTP, against what two workers drain. A first repair of as many rows as the drain is
 * warmed up with warms the receiving side.
 *
 * A moved row takes more work than a drained one, and all of it on the same cores: it is listed, read and sent, taken by the gateway and
 * queued, and then drained. The microseconds of each process show where it goes.
 */
export async function repairRate(emit: Emit, count: number): Promise<void> {
  const drain = await drainOf(count);
  const [own, other] = await Promise.all([createDeployment(), createDeployment()]);
  const gateway = await startGatewayProcess(other);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => startWorker('drain', other.env)));
  const here = await openLocalPeer(own.options);
  const there = openPeer(gateway.url, { token: TOKEN });
  const pids = workers.map(({ child }) => child.pid as number);
  const push = async (prefix: string, rows: number) => {
    const items = documents(rows, prefix);
    await fill([own.pool], rows, FIRST_STAMP, new Digester(), (i) => items[i] as (typeof items)[0]);
    const before = cpuUs(gateway.pid);
    const usage = await usageOf(other, pids, async () => {
      const { equal, reason, pushed } = await repair(here, there, { direction: 'push' });
      if (!equal || pushed.rows !== rows) throw new Error(`${pushed.rows} of ${rows} rows moved: ${reason}`);
    });
    return { usage, gatewayUs: cpuUs(gateway.pid) - before };
  };
  try {
    await push('warm', WARM_UP);
    const { usage, gatewayUs } = await push('doc', count);
    emit('drain_items_per_s', perSecond(count, drain.ms), 'items/s');
    emit('repair_rows_per_s', perSecond(count, usage.ms), 'rows/s');
    emit('repair_ratio_vs_drain', drain.ms / usage.ms, 'ratio');
    emitUsage(emit, [drain], count, { prefix: 'drain_', kinds: CPU_KINDS });
    emitUsage(emit, [usage], count, { prefix: 'repair_', kinds: CPU_KINDS });
    emit('repair_gateway_cpu_us', gatewayUs / count, 'us/item');
  } finally {
    there.close();
    await here.close();
    await Promise.all([gateway.stop(), ...workers.map((worker) => worker.stop())]);
    await own.close();
    await other.close();
  }
}

async function drainOf(count: number): Promise<Usage> {
  const deployment = await createDeployment();
  try {
    return await tierlineDrain(deployment, documents(count));
  } finally {
    await deployment.close();
  }
}
