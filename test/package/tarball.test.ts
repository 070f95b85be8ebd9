import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const bin = (name: string) => join(ROOT, 'node_modules/.bin', name);

const CONSUMER = `
import { openStore, InvalidItemError, type Item } from 'tierline';
import { openProducer } from 'tierline/producer';
import { openReader } from 'tierline/reader';
import { startDrain } from 'tierline/worker';
import { startMaintenance } from 'tierline/maintenance';
import { TierlineError } from 'tierline/errors';
import { createServiceMetrics } from 'tierline/metrics';
import { dashboard, openDashboard } from 'tierline/dashboard';
import { startGateway } from 'tierline/gateway';
// @ts-expect-error: how the parts of Tierline open each other is no part of its interface.
import { connectProducer } from 'tierline/producer';
// @ts-expect-error
import { connectReader } from 'tierline/reader';
// @ts-expect-error
import { messageOf } from 'tierline/errors';

export async function use(): Promise<Item | undefined> {
  await using producer = await openProducer({ chunkWaitMs: 1 });
  const ticket = await producer.submit({ id: 'a', content: { b: [1, null, 'c'] } });
  const { status } = await ticket.settled({ timeoutMs: 10 });
  if (status === 'dead') throw new InvalidItemError('content', 'refused');
  await using reader = await openReader();
  return reader.get('a');
}
console.log(openStore, startDrain, startMaintenance, startGateway, createServiceMetrics, use);
console.log(new InvalidItemError('content', 'refused') instanceof TierlineError);
`;

const TSCONFIG = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    skipLibCheck: false,
    types: ['node'],
    exactOptionalPropertyTypes: true,
    outDir: 'out',
    rootDir: '.',
  },
  files: ['consumer.ts'],
};

/** Files that a text names: the targets of its links, and paths in backquotes that begin with a folder of the package. */
function namedFiles(markdown: string): string[] {
  const links = [...markdown.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, target = '']) => target);
  const paths = [...markdown.matchAll(/`((?:docs|examples)\/[\w./-]*|docker-compose\.yml)`/g)].map(
    ([, path = '']) => path,
  );
  return [...links.filter((target) => !/^[a-z]+:/.test(target)), ...paths];
}

interface Locked {
  readonly dev?: boolean;
}

/** Packages that are installed with Tierline, in the top folder: those for its development are not. */
async function dependencies(): Promise<string[]> {
  const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>;
  };
  return Object.entries(packages)
    .filter(([path, { dev }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && dev !== true)
    .map(([path]) => path.slice('node_modules/'.length))
    .filter((name) => existsSync(join(ROOT, 'node_modules', name)) && name !== '@types/node');
}

test('the packed tarball installs into an empty ESM project, type-checks and runs', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tierline-pack-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: ROOT,
  });
  const packed: unknown = JSON.parse(stdout);
  const tarball = join(folder, (await readdir(folder)).find((file) => file.endsWith('.tgz')) ?? '');
  t.true(
    JSON.stringify(packed).includes('dist/src/redis/scripts/stamp.lua'),
    'Lua scripts are in the tarball',
  );
  t.false(JSON.stringify(packed).includes('dist/test/'), 'tests are not');

  const modules = join(folder, 'node_modules');
  await mkdir(join(modules, 'tierline'), { recursive: true });
  await run('tar', ['-xzf', tarball, '-C', join(modules, 'tierline'), '--strip-components=1']);
  const documents = (await readdir(join(modules, 'tierline'), { recursive: true })).filter((file) =>
    file.endsWith('.md'),
  );
  t.true(documents.includes('README.md'));
  for (const document of documents) {
    const path = join(modules, 'tierline', document);
    for (const name of namedFiles(await readFile(path, 'utf8'))) {
      const places = [dirname(path), join(modules, 'tierline')].map((folder) => join(folder, name));
      t.true(places.some(existsSync), `${document} names ${name}`);
    }
  }
  // The dependencies as installed here: the registry is not what is tested. The types of Node are the consumer's own.
  for (const name of [...(await dependencies()), '@types/node']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(ROOT, 'node_modules', name), join(modules, name));
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module' }));
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG));
  await writeFile(join(folder, 'consumer.ts'), CONSUMER);
  await t.notThrowsAsync(run(bin('tsc'), ['-p', folder]), 'types');
  const ran = await run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      "const t = await import('tierline'); const w = await import('tierline/worker'); console.log(typeof t.openStore, typeof w.startDrain)",
    ],
    { cwd: folder },
  );
  t.is(ran.stdout.trim(), 'function function');
});

test('tierline/errors gives the same classes and loads no client of a server', async (t) => {
  // Not a literal: the compiler would look for its own output.
  const door: string = 'tierline/errors';
  const errors: object = await import(door);
  t.deepEqual(errors, await import('../../src/errors.ts'));
  const loader = `export const resolve = (name, context, next) => {
    if (!name.startsWith('file:') && !name.startsWith('.') && name !== 'tierline/errors') throw new Error('loads ' + name);
    return next(name, context);
  };`;
  const register = `import { register } from 'node:module'; register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(loader)}));`;
  const load = `${register} await import('tierline/errors');`;
  await t.notThrowsAsync(run(process.execPath, ['--input-type=module', '-e', load], { cwd: ROOT }));
});

// `@fastify/cookie`, `@fastify/static` and `light-my-request` are dependencies with a version because later ones want Node 22.
test('every dependency takes the Node that this runs on, which is the one that the package asks for', async (t) => {
  const install = run('npm', ['ci', '--dry-run', '--ignore-scripts', '--engine-strict', '--offline'], {
    cwd: ROOT,
  });
  await t.notThrowsAsync(install);
});

test('publint finds nothing to change', async (t) => {
  const { stdout } = await run(bin('publint'), ['--strict', '--pack', 'false', ROOT]);
  t.regex(stdout, /All good!/);
});
