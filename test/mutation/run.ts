import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Change, changesOf } from './changes.ts';
import { type Target, TARGETS } from './targets.ts';

/** A change that makes a loop endless is noticed by its time. Far above what the tests take on a busy machine. */
const LIMIT_MS = 300_000;
const COPIED = ['dist', 'test', 'package.json', 'Procfile', 'migrations', 'bench', 'examples', 'docs'];
const LINKED = ['node_modules', 'scripts', 'src', 'workers'];

const { positionals } = parseArgs({ allowPositionals: true });
const chosen = TARGETS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
if (chosen.length < positionals.length) {
  console.error(`usage: npm run test:mutants -- [${TARGETS.map(({ name }) => name).join('|')}]...`);
  process.exit(2);
}

const folder = await mkdtemp(join(tmpdir(), 'tierline-mutants-'));
let gaps = 0;
try {
  for (const name of COPIED) await cp(name, join(folder, name), { recursive: true });
  for (const name of LINKED) await symlink(join(process.cwd(), name), join(folder, name));
  for (const target of chosen) gaps += await tryAll(target);
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exitCode = gaps === 0 ? 0 : 1;

/** Tries every change of one target. Returns how many no test noticed. */
async function tryAll(target: Target): Promise<number> {
  const file = join(folder, 'dist', target.file);
  const source = await readFile(file, 'utf8');
  if (!(await passes(target))) throw new Error(`the tests of ${target.name} fail without a change`);
  const counts = { noticed: 0, equivalent: 0, gaps: 0 };
  try {
    for (const change of changesOf(source)) {
      if (isEquivalent(target, change)) {
        counts.equivalent++;
        continue;
      }
      await writeFile(file, change.text);
      if (!(await passes(target))) {
        counts.noticed++;
        continue;
      }
      counts.gaps++;
      console.log(
        `${target.file}:${change.line} nobody noticed\n  - ${change.from.trim()}\n  + ${change.to.trim()}`,
      );
    }
  } finally {
    await writeFile(file, source);
  }
  console.log(
    `${target.name}: ${counts.noticed} of ${counts.noticed + counts.gaps} changes noticed, and ${counts.equivalent} that change nothing left out`,
  );
  return counts.gaps;
}

function isEquivalent({ equivalent = [] }: Target, { from, to }: Change): boolean {
  return equivalent.some((known) => from.includes(known.line) && to.includes(known.to));
}

async function passes({ tests }: Target): Promise<boolean> {
  for (const test of tests) {
    const ava = spawn(join('node_modules', '.bin', 'ava'), ['--fail-fast', test], {
      cwd: folder,
      stdio: 'ignore',
      detached: true,
    });
    const ended = once(ava, 'exit') as Promise<[number | null]>;
    const limit = setTimeout(() => process.kill(-(ava.pid as number), 'SIGKILL'), LIMIT_MS);
    const [code] = await ended;
    clearTimeout(limit);
    if (code !== 0) return false;
  }
  return true;
}
