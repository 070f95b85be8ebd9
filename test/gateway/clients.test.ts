import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { generateApi } from 'swagger-typescript-api';
import { startTestGateway } from '../helpers/gateway.ts';
import { createSetting } from '../helpers/setting.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

test('the curl script of the examples writes and reads', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { url, call } = await startTestGateway(t, deployment);
  const { stdout } = await run(join(ROOT, 'examples/gateway.sh'), [], {
    env: { ...process.env, GATEWAY_URL: url, GATEWAY_TOKEN: 'all' },
  });
  const [put, content, bytes, one, two, page] = stdout
    .split('\n')
    .map((line) => (line === '' ? line : JSON.parse(line)));
  t.like(put, { id: 'curl.json', status: 'applied' });
  t.deepEqual(content, { name: 'Ann', tags: ['a', 'b'] });
  t.like([bytes, one, two], [
    { id: 'curl.bytes' },
    { line: 1, status: 'applied' },
    { line: 2, status: 'applied' },
  ] as object);
  t.deepEqual(
    page.items.map(({ id }: { id: string }) => id),
    ['curl.1', 'curl.2', 'curl.bytes', 'curl.json'],
  );
  t.is(await (await call('/v1/items/curl.bytes')).text(), 'bytes\0of any kind');
});

test('the script of the examples in Python, with its standard library alone, writes and reads', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { url } = await startTestGateway(t, deployment);
  const { stdout } = await run('python3', [join(ROOT, 'examples/gateway.py')], {
    env: { ...process.env, GATEWAY_URL: url, GATEWAY_TOKEN: 'all', PYTHONIOENCODING: 'utf-8' },
  });
  t.deepEqual(stdout.trim().split('\n'), [
    "applied {'name': 'Ann'}",
    '250',
    String((249 * 250) / 2),
    'ERR_NOT_FOUND: There is no such item.',
  ]);
});

/** Compiled against the generated client: a document that lies about the routes does not compile, or fails when it runs. */
const CONSUMER = `
import { Api } from './client.ts';

export async function use(baseUrl: string, token: string): Promise<unknown> {
  const { v1 } = new Api({
    baseUrl,
    baseApiParams: { headers: { authorization: \`Bearer \${token}\` }, secure: true, format: 'json' },
  });
  const put = await v1.putItem('made.by-a-generator', { name: 'Ann' }, { wait: 'settled', state: 'new' });
  const got = await v1.getItem('made.by-a-generator');
  // This generator takes what follows a colon for a parameter, and encodes none of them.
  const many = await v1.getItems(':get', { ids: ['made.by-a-generator', 'none'] });
  const page = await v1.listItems({ prefix: 'made', limit: 10 });
  const status = await v1.getStatus('made.by-a-generator');
  const state = await v1.setState('made.by-a-generator', { state: 'old' }, { wait: 'settled' });
  const deleted = await v1.deleteItems({ prefix: 'made', wait: 'settled' });
  return {
    put: put.data.status,
    got: got.data,
    many: many.data.items.map((item) => item?.content ?? null),
    page: page.data.items.map(({ id, state }) => [id, state]),
    status: status.data.status,
    state: state.data.status,
    deleted: deleted.data.status,
  };
}
`;

test('a client that a public generator makes from the OpenAPI document compiles, writes and reads', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { url } = await startTestGateway(t, deployment);
  const folder = join(ROOT, 'dist/generated-client');
  await mkdir(folder, { recursive: true });
  const document = await (await fetch(`${url}/openapi.json`)).text();
  await writeFile(join(folder, 'openapi.json'), document);
  await generateApi({
    input: join(folder, 'openapi.json'),
    output: folder,
    fileName: 'client.ts',
    silent: true,
    httpClientType: 'fetch',
  });
  t.true((await readFile(join(folder, 'client.ts'), 'utf8')).includes('class Api'));
  await writeFile(join(folder, 'consumer.ts'), CONSUMER);
  const options = [
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,dom,dom.iterable',
    '--strict',
    '--skipLibCheck',
  ];
  const paths = [
    '--rewriteRelativeImportExtensions',
    '--outDir',
    join(folder, 'out'),
    join(folder, 'consumer.ts'),
  ];
  await t.notThrowsAsync(
    run(join(ROOT, 'node_modules/.bin/tsc'), ['--ignoreConfig', '--types', '', ...options, ...paths], {
      cwd: folder,
    }).catch((error: { stdout?: string }) => Promise.reject(new Error(error.stdout))),
  );
  const { use } = (await import(pathToFileURL(join(folder, 'out/consumer.js')).href)) as {
    use(url: string, token: string): Promise<unknown>;
  };
  t.deepEqual(await use(url, 'all'), {
    put: 'applied',
    got: { name: 'Ann' },
    many: [{ name: 'Ann' }, null],
    page: [['made.by-a-generator', 'new']],
    status: 'synced',
    state: 'applied',
    deleted: 'settled',
  });
});
