import { openPeer } from '../src/peers/http-peer.ts';
import { openLocalPeer } from '../src/peers/local-peer.ts';
import { repair } from '../src/peers/repair.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { documents } from './documents.ts';
import { tierlineDrain } from './drain.ts';
import { startGatewayProcess, TOKEN } from './gateway-process.ts';
import { type Emit, perSecond, timed } from './metric.ts';

const WORKERS = 2;

/**
 * Rows that a peer lacks are pushed to it over HTTP, against what two workers drain on the sending side. The bench of draining also
 * writes rows to warm its workers up. The first repair moves those and warms the receiving side; in the second they are older there.
 */
export async function repairRate(emit: Emit, count: number): Promise<void> {
  const [own, other] = await Promise.all([createDeployment(), createDeployment()]);
  const gateway = await startGatewayProcess(other);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => startWorker('drain', other.env)));
  const here = await openLocalPeer(own.options);
  const there = openPeer(gateway.url, { token: TOKEN });
  const push = async () => {
    const { equal, reason, pushed } = await repair(here, there, { direction: 'push' });
    if (!equal) throw new Error(`the repair did not end equal: ${reason}`);
    return pushed.rows;
  };
  try {
    await tierlineDrain(own, documents(Math.ceil(count / 10), 'first'));
    await push();
    const drained = perSecond(count, (await tierlineDrain(own, documents(count))).ms);
    let rows = 0;
    const ms = await timed(async () => {
      rows = await push();
    });
    emit('drain_items_per_s', drained, 'items/s');
    emit('repair_rows_per_s', perSecond(rows, ms), 'rows/s');
    emit('repair_ratio_vs_drain', perSecond(rows, ms) / drained, 'ratio');
  } finally {
    there.close();
    await here.close();
    await Promise.all([gateway.stop(), ...workers.map((worker) => worker.stop())]);
    await own.close();
    await other.close();
  }
}
