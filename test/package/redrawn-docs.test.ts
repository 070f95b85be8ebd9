import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const SCRIPT = fileURLToPath(new URL('../../../docs/redraw.mjs', import.meta.url));

test('docs say what the program says: options, tests of each invariant, the picture of the architecture', async (t) => {
  await t.notThrowsAsync(promisify(execFile)(process.execPath, [SCRIPT, '--check']));
});
