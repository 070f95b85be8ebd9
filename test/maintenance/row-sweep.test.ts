import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { createLogger } from '../../src/log.ts';
import { RowSweep, UNOBSERVED_CHORES } from '../../src/maintenance/chores.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { Digester } from '../../src/merkle/digest.ts';
import type { RowFault } from '../../src/postgres/merkle-verify.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { closing } from '../helpers/setting.ts';
import { lanesWriterOf } from '../helpers/writer.ts';

const ROWS = 4500;

async function setUp(t: ExecutionContext, options: Options = {}): Promise<Deployment> {
  const deployment = closing(t, await createDeployment(options));
  const ids = Array.from({ length: ROWS }, (_, n) => `row.${String(n).padStart(5, '0')}`);
  await lanesWriterOf(deployment).write([
    chunkOf(ids.map((id, n) => ({ id, stamp: 1000 + n, kind: 'json', body: `${n}` }))),
  ]);
  return deployment;
}

/** A sweep of a process that has just started. */
function sweepOf({ shards, redis, keys }: Deployment) {
  const seen = { rows: 0, faults: [] as RowFault[] };
  const sweep = new RowSweep({
    shards,
    queue: redis,
    keys,
    digester: new Digester(undefined),
    log: createLogger('test', 'silent'),
    observer: {
      rowsVerified(rows, faults) {
        seen.rows += rows;
        seen.faults.push(...faults);
      },
    },
  });
  return { sweep, seen };
}

test('I5: the sweep of rows goes on where another process left it, finds what was changed by SQL, and begins again', async (t) => {
  const deployment = await setUp(t, ONE_LANE);
  await deployment.query(`UPDATE items SET state = 'forged' WHERE id = 'row.00001'`);
  await deployment.query(`UPDATE items SET content = '"forged"' WHERE id = 'row.04400'`);
  const first = sweepOf(deployment);
  await first.sweep.step();
  t.deepEqual(first.seen, { rows: 2000, faults: ['digest'] });
  const second = sweepOf(deployment);
  await second.sweep.step();
  t.deepEqual(second.seen, { rows: 2000, faults: [] });
  await second.sweep.step();
  t.deepEqual(second.seen, { rows: ROWS - 2000, faults: ['content'] });
  await second.sweep.step();
  t.deepEqual(second.seen, { rows: ROWS, faults: ['content', 'digest'] }, 'from the first row again');
});

test('I5: maintenance sweeps the rows', async (t) => {
  const deployment = await setUp(t);
  await deployment.query(`UPDATE items SET content_version = 1 WHERE id = 'row.00001'`);
  const found: RowFault[] = [];
  closing(
    t,
    await startMaintenance(deployment.options, {
      ...UNOBSERVED_CHORES,
      rowsVerified: (_, faults) => found.push(...faults),
    }),
  );
  await t.notThrowsAsync(eventually(() => found.includes('digest'), 'the changed row is found', 60_000));
});
