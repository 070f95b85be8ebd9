import test from 'ava';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { spawnWorker } from '../helpers/worker-process.ts';

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment();
});
test.after.always(() => deployment.close());

const WRONG_URLS = [
  ['DATABASE_URL', 'mysql://127.0.0.1/x', 'must start with postgres:// or postgresql://'],
  ['DATABASE_URL', 'postgres://u:p@127.0.0.1:port/x', 'is not a URL'],
  ['REDIS_URL', 'http://127.0.0.1', 'must start with redis:// or rediss://'],
] as const;

for (const name of ['drain', 'maintenance', 'dashboard', 'migrate'] as const) {
  test(`I8: ${name}: a wrong URL is told in one line, by its own name, and not as a stack`, async (t) => {
    for (const [variable, value, why] of WRONG_URLS) {
      const worker = spawnWorker(name, { ...deployment.env, [variable]: value });
      t.is(await worker.ended, 1);
      const lines = worker.output().trim().split('\n');
      t.is(lines.length, 1, worker.output());
      const { code, msg } = JSON.parse(lines[0] ?? '') as { code: string; msg: string };
      t.is(code, 'ERR_CONFIG');
      t.true(msg.includes(`${variable}: ${why}`), msg);
      t.false(worker.output().includes('    at '), worker.output());
    }
  });
}
