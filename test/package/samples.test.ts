import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { createDeployment } from '../helpers/deployment.ts';
import { startWorker } from '../helpers/worker-process.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** Inside the package, so that `tierline/…` means this one. */
const FOLDER = join(ROOT, 'dist/samples');

interface Sample {
  readonly file: string;
  readonly code: string;
}

function samplesOf(page: string): Sample[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code = ''], i) => ({
    file: `${basename(page, '.md')}-${i + 1}`,
    code,
  }));
}

const pages = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const samples = pages.flatMap(samplesOf);
const fromReadme = samplesOf('README.md');

test.before(() => {
  mkdirSync(FOLDER, { recursive: true });
  for (const { file, code } of samples) writeFileSync(join(FOLDER, `${file}.ts`), code);
  const { compilerOptions } = JSON.parse(readFileSync(join(ROOT, 'tsconfig.json'), 'utf8')) as {
    compilerOptions: object;
  };
  const config = {
    // Samples name results that they do not use.
    compilerOptions: {
      ...compilerOptions,
      target: 'esnext',
      noUnusedLocals: false,
      rootDir: '.',
      outDir: '.',
    },
    files: samples.map(({ file }) => `${file}.ts`),
  };
  writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify(config));
});

test.serial('every sample of README and docs type-checks and is syntax that this Node knows', async (t) => {
  t.true(fromReadme.length >= 4, 'samples are found');
  await t.notThrowsAsync(run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', FOLDER]));
  for (const { file } of samples) {
    await t.notThrowsAsync(run(process.execPath, ['--check', join(FOLDER, `${file}.js`)]), file);
  }
});

test.serial('every sample of the README runs', async (t) => {
  const deployment = await createDeployment();
  t.teardown(() => deployment.close());
  const drain = await startWorker('drain', deployment.env);
  t.teardown(() => drain.stop());
  for (const { file, code } of fromReadme) {
    const running = run(process.execPath, [join(FOLDER, `${file}.js`)], {
      env: { ...deployment.env, TIERLINE_LOG_LEVEL: 'info' },
      timeout: 60_000,
    });
    // It stays until it is told to stop.
    if (code.includes('SIGTERM')) {
      running.child.stdout?.on('data', (text) => {
        // Its next line says what a signal does.
        if (String(text).includes('drain started')) setTimeout(() => running.child.kill(), 500);
      });
    }
    await t.notThrowsAsync(running, file);
  }
});
