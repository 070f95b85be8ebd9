import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { createDeployment } from '../helpers/deployment.ts';

const ROWS = 1_000_000;
const MAX_RSS_BYTES = 150 * 1024 * 1024;

test('I10: a scan of a million rows streams in order within 150 MB of memory, and counts agree', async (t) => {
  const deployment = await createDeployment();
  t.teardown(() => deployment.close());
  await deployment.pool.query(
    `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, gen, kh, x0, x1, s0, s1, batch_id)
     SELECT 'row.' || lpad(n::text, 7, '0'), n, false, '{"n":1}', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid()
     FROM generate_series(1, ${ROWS}) n`,
  );
  const program = fileURLToPath(new URL('../helpers/scanning.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, 'row.'], { env: deployment.env });
  const { seen, ordered, counted, rssBytes } = JSON.parse(stdout) as Record<string, number>;
  t.is(seen, ROWS);
  t.is(counted, ROWS);
  t.truthy(ordered);
  t.true((rssBytes as number) < MAX_RSS_BYTES, `${Math.round((rssBytes as number) / 1e6)} MB`);
});
