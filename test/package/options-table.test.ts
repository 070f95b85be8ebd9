import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const SCRIPT = fileURLToPath(new URL('../../../scripts/options-table.mjs', import.meta.url));

test('the README lists every option with its unit, default and meaning', async (t) => {
  await t.notThrowsAsync(promisify(execFile)(process.execPath, [SCRIPT, '--check']));
});
