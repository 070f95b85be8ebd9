import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { createDeployment } from '../helpers/deployment.ts';
import { type DatabaseProxy, type Proxy, startDatabaseProxy, startProxy } from '../helpers/proxy.ts';
import { type SpawnedWorker, spawnWorker, startWorker } from '../helpers/worker-process.ts';
import { closing } from '../helpers/setting.ts';

// One after another: what is bounded in time here must not wait for the other tests.

const WORKERS = ['drain', 'maintenance', 'dashboard'] as const;
const SHUTDOWN_MS = 4000;
/** Node itself needs its time before the first line of any program runs, on a busy machine a long one. */
const LISTENS =
  'data:text/javascript,process.on("newListener",(name)=>name==="SIGTERM"&%26console.log("listens"))';
const WHILE_LOADING = fileURLToPath(new URL('../helpers/signal-while-loading.js', import.meta.url));

interface Setting {
  readonly redis: Proxy;
  readonly postgres: DatabaseProxy;
  /** Environment of workers that leads through the proxies. */
  readonly env: NodeJS.ProcessEnv;
}

async function setUp(t: ExecutionContext): Promise<Setting> {
  const deployment = closing(t, await createDeployment());
  const redis = closing(t, await startProxy(deployment.options.redisUrl));
  const postgres = closing(t, await startDatabaseProxy(deployment));
  const env = {
    ...deployment.env,
    ...postgres.env,
    REDIS_URL: redis.url,
    TIERLINE_SHUTDOWN_MS: String(SHUTDOWN_MS),
    TIERLINE_METRICS_PORT: '0',
    TIERLINE_DASHBOARD_PORT: '0',
    TIERLINE_DASHBOARD_TOKEN: 'a'.repeat(32),
  };
  return { redis, postgres, env };
}

/** It ended with 0, and nothing that it said came after its deadline. */
async function endsInTime(t: ExecutionContext, worker: SpawnedWorker, name: string): Promise<void> {
  t.is(await worker.ended, 0, `${name}: ${worker.output()}`);
  const times = worker
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { time: number; msg: string });
  const from = times.findIndex(({ msg }) => msg === 'stopping');
  if (from === -1) return;
  const last = times.at(-1)?.time ?? 0;
  t.true(last - (times[from]?.time ?? 0) < SHUTDOWN_MS, worker.output());
}

for (const name of WORKERS) {
  test.serial(`I12: ${name}: SIGTERM while it still loads its modules ends it with 0`, async (t) => {
    const { env } = await setUp(t);
    const worker = spawnWorker(name, env, ['--import', WHILE_LOADING]);
    t.teardown(() => worker.stop('SIGKILL'));
    await endsInTime(t, worker, name);
    t.is(worker.child.signalCode, null);
  });

  test.serial(`I12: ${name}: SIGTERM at any moment of a start ends it with 0`, async (t) => {
    const { env } = await setUp(t);
    for (const ms of [50, 100, 200, 400, 800]) {
      const worker = spawnWorker(name, env, ['--import', LISTENS]);
      t.teardown(() => worker.stop('SIGKILL'));
      await worker.until('listens');
      await sleep(ms);
      await worker.stop('SIGTERM');
      await endsInTime(t, worker, `${name} after ${ms} ms`);
    }
  });
}

for (const name of WORKERS) {
  for (const which of ['redis', 'postgres'] as const) {
    for (const how of ['refuse', 'freeze'] as const) {
      test.serial(
        `I12: ${name}: SIGTERM while ${which} is away (${how}): it stops by itself in time`,
        async (t) => {
          const setting = await setUp(t);
          const worker = await startWorker(name, setting.env);
          t.teardown(() => worker.stop('SIGKILL'));
          await setting[which][how]();
          await worker.stop('SIGTERM');
          await endsInTime(t, worker, name);
          t.true(worker.output().includes(`${name} stopped`), 'not cut off at its deadline');
        },
      );
    }
  }

  test.serial(`I12: ${name}: SIGTERM while it starts and a backend is away ends it with 0`, async (t) => {
    for (const which of ['redis', 'postgres'] as const) {
      for (const how of ['refuse', 'freeze'] as const) {
        const setting = await setUp(t);
        await setting[which][how]();
        const worker = spawnWorker(name, setting.env, ['--import', LISTENS]);
        t.teardown(() => worker.stop('SIGKILL'));
        await worker.until('listens');
        await sleep(700);
        await worker.stop('SIGTERM');
        // A refused connection may have ended the start before the signal came.
        const failedFirst =
          worker.output().includes('"start failed"') && !worker.output().includes('"stopping"');
        if (failedFirst) t.is(await worker.ended, 1, worker.output());
        else await endsInTime(t, worker, `${name}, ${which}, ${how}`);
      }
    }
  });
}
