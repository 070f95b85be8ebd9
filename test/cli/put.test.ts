import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { MAIN, runCommand } from '../helpers/command-line.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { closing } from '../helpers/setting.ts';

const deployment = await createDeployment(ONE_LANE);
const drain = await startDrain(deployment.options);
const reader = await openReader({ ...deployment.options, l1MaxBytes: 0 });
const folder = await mkdtemp(join(tmpdir(), 'tierline-put-'));
test.after.always(async () => {
  await reader.close();
  await drain.close();
  await deployment.close();
  await rm(folder, { recursive: true });
});

const put = (args: readonly string[], input?: string | Buffer) =>
  runCommand(deployment.env, ['put', '--json', ...args], input);
const contentsOf = async (ids: readonly string[]) => (await reader.getMany(ids)).map((item) => item?.content);
const fileOf = async (name: string, text: string | Buffer) => {
  const file = join(folder, `${randomUUID()}-${name}`);
  await writeFile(file, text);
  return file;
};
const comparable = (text: string) => text.replaceAll(/,"version":\d+,"updatedAt":\d+/g, '');
interface Summary {
  readonly read: number;
  readonly broken: number;
  readonly queued: number;
  readonly settled: number;
  readonly superseded: number;
  readonly dead: number;
}
const summaryOf = (stdout: string) => JSON.parse(stdout) as Summary;

test('lines of a file become items, and the summary counts them', async (t) => {
  const file = await fileOf(
    'items.ndjson',
    '{"id":"f.1","content":{"a":1}}\r\n\n{"id":"f.2","content":[],"state":"new"}',
  );
  const { code, stdout, stderr } = await put([file, '--state', 'imported']);
  t.deepEqual([code, stderr], [0, '']);
  const { read, broken, queued, settled, superseded, dead } = summaryOf(stdout);
  t.deepEqual(
    { read, broken, queued, settled, superseded, dead },
    { read: 2, broken: 0, queued: 2, settled: 2, superseded: 0, dead: 0 },
  );
  t.deepEqual(
    (await reader.getMany(['f.1', 'f.2'])).map((item) => [item?.content, item?.state]),
    [
      [{ a: 1 }, 'imported'],
      [[], 'new'],
    ],
  );
});

test('a load whose messages nobody reads any more goes on', async (t) => {
  const child = spawn(process.execPath, [MAIN, 'put', '--json'], { env: deployment.env });
  child.stderr.destroy();
  let stdout = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stdin.on('error', () => undefined);
  const items = Array.from({ length: 600 }, (_, i) => `{"id":"unheard.${i}","content":${i}}\n`);
  child.stdin.end('broken\n'.repeat(600) + items.join(''));
  const [code] = (await once(child, 'close')) as [number | null];
  t.is(code, 1);
  t.like(summaryOf(stdout), { broken: 600, settled: 600 });
});

test('a table for people without --json', async (t) => {
  const { code, stdout } = await runCommand(deployment.env, ['put'], '{"id":"h.1","content":1}\n');
  t.is(code, 0);
  t.regex(stdout, /^lines read +1$/m);
  t.regex(stdout, /^settled +1$/m);
});

test('--id takes the id from a field, text or number, and the line is the content', async (t) => {
  const { code } = await put(['--id', 'key'], '{"key":"n.text","a":1}\n{"key":77,"a":2}\n');
  t.is(code, 0);
  t.deepEqual(await contentsOf(['n.text', '77']), [
    { key: 'n.text', a: 1 },
    { key: 77, a: 2 },
  ]);
});

test('a broken line is told by its number and its text by nobody, and the rest goes on', async (t) => {
  const lines = Array.from({ length: 1200 }, (_, i) => `{"id":"b.${i}","content":${i}}`);
  lines[600] = '{"id":"b.600","content":"secret-of-a-user"';
  const { code, stdout, stderr } = await put([await fileOf('b.ndjson', lines.join('\n'))]);
  t.is(code, 1);
  t.regex(stderr, /^line 601: is not JSON/);
  t.false(stderr.includes('secret-of-a-user'));
  t.is(summaryOf(stdout).broken, 1);
  t.is(summaryOf(stdout).settled, 1199);
  t.deepEqual(await contentsOf(['b.599', 'b.600', 'b.601', 'b.1199']), [599, undefined, 601, 1199]);
});

type BrokenLine = readonly [line: string | Buffer, problem: RegExp];
const BROKEN: readonly BrokenLine[] = [
  ['nonsense', /is not JSON/],
  ['[1]', /is not a JSON object/],
  ['"text"', /is not a JSON object/],
  ['null', /is not a JSON object/],
  ['{"content":1}', /id: must be a string/],
  ['{"id":"","content":1}', /id: must not be empty/],
  ['{"id":7,"content":1}', /id: must be a string/],
  [`{"id":"${'i'.repeat(256)}","content":1}`, /id: has 256 bytes/],
  ['{"id":"x"}', /has no "content".*--id/],
  ['{"id":"x","content":1,"ttl":5}', /ttl/],
  ['{"id":"x","content":1,"state":""}', /state: must not be empty/],
  ['{"id":"x","content":1,"state":5}', /state/],
  ['{"id":"x","content":"***","contentType":"binary"}', /not base64/],
  ['{"id":"x","content":5,"contentType":"binary"}', /not base64/],
  ['{"id":"x","content":5,"contentType":"xml"}', /contentType/],
  [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), /is not UTF-8/],
];
const BROKEN_WITH_KEY: readonly BrokenLine[] = [
  ['{"a":1}', /has no field "key"/],
  ['{"key":null}', /neither text nor a number/],
  ['{"key":{"a":1}}', /neither text nor a number/],
];
for (const [args, broken, good] of [
  [[], BROKEN, (id: string) => `{"id":"${id}","content":1}`],
  [['--id', 'key'], BROKEN_WITH_KEY, (id: string) => `{"key":"${id}"}`],
] as const) {
  test(`lines that are no items are told one by one, and the others are queued: ${['put', ...args].join(' ')}`, async (t) => {
    const ids = broken.map(() => `g.${randomUUID()}`);
    const lines = broken.flatMap(([line], i) => [line, `\n${good(ids[i] as string)}\n`]);
    const input = Buffer.concat(lines.map((line) => Buffer.from(line)));
    const { code, stdout, stderr } = await put(args, input);
    t.is(code, 1);
    const told = stderr.split('\n');
    broken.forEach(([line, problem], i) => {
      const found = told.find((text) => text.startsWith(`line ${2 * i + 1}: `));
      t.regex(found ?? '', problem, line.toString().slice(0, 60));
    });
    t.is(summaryOf(stdout).queued, broken.length);
    t.true((await reader.getMany(ids)).every((item) => item !== undefined));
  });

  test(`--strict stops at a line that is no item: ${['put', ...args].join(' ')}`, async (t) => {
    const [line, problem] = broken[0] as BrokenLine;
    const input = Buffer.concat([Buffer.from(line), Buffer.from(`\n${good('never')}\n`)]);
    const { code, stdout, stderr } = await put([...args, '--strict'], input);
    t.is(code, 1);
    t.regex(stderr, /^line 1: /);
    t.regex(stderr, problem);
    t.is(summaryOf(stdout).queued, 0);
  });
}

test('--strict queues nothing of the chunk with the broken line, and nothing after it', async (t) => {
  const lines = Array.from({ length: 1600 }, (_, i) => `{"id":"s.${i}","content":${i}}`);
  lines[700] = '{"id":"s.700","content":1,"state":""}';
  const { code, stdout, stderr } = await put(['--strict'], lines.join('\n'));
  t.is(code, 1);
  t.regex(stderr, /^line 701: state: must not be empty\ntierline put: stopped by --strict/);
  t.is(summaryOf(stdout).queued, 500);
  t.is(summaryOf(stdout).settled, 500);
  t.is(await reader.countPrefix('s.'), 500);
  t.deepEqual(await contentsOf(['s.499', 's.500', 's.699', 's.701', 's.1500']), [
    499,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test('I1: of two lines with one id the later wins, in one chunk and in two', async (t) => {
  const same = '{"id":"t.1","content":"earlier"}\n{"id":"t.1","content":"later"}\n';
  t.is((await put([], same)).code, 0);
  const filler = Array.from({ length: 700 }, (_, i) => `{"id":"t.x.${i}","content":${i}}\n`).join('');
  t.is(
    (await put([], `{"id":"t.2","content":"earlier"}\n${filler}{"id":"t.2","content":"later"}\n`)).code,
    0,
  );
  t.deepEqual(await contentsOf(['t.1', 't.2']), ['later', 'later']);
});

test('CSV with quotes, commas and newlines in fields', async (t) => {
  const csv =
    '\ufeffid,name,note\r\nc.1,"Smith, Ann","said ""hi""\nand left"\r\nc.2,plain,\r\n"c.3","","ünïcode ✓"';
  const { code, stderr } = await put(['--format', 'csv'], csv);
  t.deepEqual([code, stderr], [0, '']);
  t.deepEqual(await contentsOf(['c.1', 'c.2', 'c.3']), [
    { id: 'c.1', name: 'Smith, Ann', note: 'said "hi"\nand left' },
    { id: 'c.2', name: 'plain', note: '' },
    { id: 'c.3', name: '', note: 'ünïcode ✓' },
  ]);
});

test('CSV by the name of the file, with another column as id and a prototype as name', async (t) => {
  const { code } = await put([await fileOf('x.csv', 'code,__proto__\nd.1,own\n'), '--id', 'code']);
  t.is(code, 0);
  t.is(JSON.stringify((await reader.get('d.1'))?.content), '{"code":"d.1","__proto__":"own"}');
});

test('broken CSV records are told by the line they begin on', async (t) => {
  const csv = 'id,a\ne.1,"two\nlines"\ne.2\ne.3,x"y\ne.4,"x"y\ne.5,ok\ne.6,"never ends\n';
  const { code, stdout, stderr } = await put(['--format', 'csv'], csv);
  t.is(code, 1);
  t.deepEqual(stderr.trim().split('\n'), [
    'line 4: has 1 fields where the heading has 2',
    'line 5: has a field (2) with a quote that is not quoted as a whole',
    'line 6: has a field (2) that goes on after its closing quote',
    'line 8: has a quoted field that never ends',
  ]);
  t.is(summaryOf(stdout).settled, 2);
  t.deepEqual(await contentsOf(['e.1', 'e.5']), [
    { id: 'e.1', a: 'two\nlines' },
    { id: 'e.5', a: 'ok' },
  ]);
});

for (const [name, csv, message] of [
  ['lacks the id', 'name,a\nx,1\n', /heading \(line 1\) has no column "id".*--id/],
  ['names a column twice', 'id,a,a\nx,1,2\n', /names a column twice/],
  ['cannot be read', 'id,"a"b\nx,1\n', /goes on after its closing quote/],
] as const) {
  test(`a CSV heading that ${name} stops everything`, async (t) => {
    const { code, stdout, stderr } = await put(['--format', 'csv'], csv);
    t.is(code, 1);
    t.regex(stderr, message);
    t.is(summaryOf(stdout).queued, 0);
  });
}

test('a line longer than an item may be is passed over', async (t) => {
  const env = { ...deployment.env, TIERLINE_MAX_CONTENT_BYTES: '1000' };
  const long = `{"id":"l.1","content":"${'x'.repeat(200_000)}"}`;
  const middle = `{"id":"l.2","content":"${'x'.repeat(2000)}"}`;
  const { code, stderr } = await runCommand(env, ['put'], `${long}\n${middle}\n{"id":"l.3","content":3}\n`);
  t.is(code, 1);
  t.regex(
    stderr,
    /^line 1: is longer than 67536 bytes\nline 2: content: has 2002 bytes; at most 1000 are allowed/,
  );
  t.deepEqual(await contentsOf(['l.1', 'l.2', 'l.3']), [undefined, undefined, 3]);
});

test('I9: a line that Postgres refuses is told with its number, and stands in dead_letters', async (t) => {
  await deployment.pool.query(
    `ALTER TABLE items ADD CONSTRAINT no_poison CHECK (id NOT LIKE 'poison.%') NOT VALID`,
  );
  try {
    const { code, stdout, stderr } = await put(
      [],
      '{"id":"p.1","content":1}\n{"id":"poison.1","content":2}\n',
    );
    t.is(code, 1);
    t.regex(stderr, /^line 2: it was refused, and stands in the dead letters: .*no_poison/);
    t.is(summaryOf(stdout).dead, 1);
    t.deepEqual(await contentsOf(['p.1', 'poison.1']), [1, undefined]);
  } finally {
    await deployment.pool.query('ALTER TABLE items DROP CONSTRAINT no_poison');
  }
});

test('files that cannot be read, and nothing at all', async (t) => {
  for (const file of [join(folder, 'none.ndjson'), folder]) {
    const { code, stderr } = await put([file]);
    t.is(code, 1);
    t.regex(stderr, /ENOENT|EISDIR/);
  }
  const { code, stdout } = await put([]);
  t.is(code, 0);
  t.is(summaryOf(stdout).read, 0);
});

test('with nobody to settle, --timeout ends the wait and says that the writes are accepted', async (t) => {
  const idle = closing(t, await createDeployment(ONE_LANE));
  const { code, stderr } = await runCommand(
    idle.env,
    ['put', '--timeout', '0.2'],
    '{"id":"w","content":1}\n',
  );
  t.is(code, 1);
  t.regex(stderr, /The write is accepted and goes on.*ERR_SETTLE_TIMEOUT/);
  t.is(await idle.redis.hlen(idle.keys.pending), 1);
});

test('what scan prints, put reads: the same items with the same hashes', async (t) => {
  const source =
    '{"id":"r.1","content":{"n":-0,"k":"\\u0000"},"state":"x"}\n{"id":"r.2","content":"AAEC/w==","contentType":"binary"}\n';
  t.is((await put([], source)).code, 0);
  const printed = await runCommand(deployment.env, ['scan', '--prefix', 'r.']);
  const copy = closing(t, await createDeployment(ONE_LANE));
  closing(t, await startDrain(copy.options));
  t.is((await runCommand(copy.env, ['put'], printed.stdout)).code, 0);
  const again = await runCommand(copy.env, ['scan']);
  t.is(comparable(again.stdout), comparable(printed.stdout));
  t.is(printed.stdout.trim().split('\n').length, 2);
});
