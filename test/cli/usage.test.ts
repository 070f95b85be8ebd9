import test from 'ava';
import { COMMANDS } from '../../src/cli/commands.ts';
import { runCommand } from '../helpers/command-line.ts';

// Nothing listens there: what these commands do, they do without a server.
const env = {
  ...process.env,
  REDIS_URL: 'redis://user:hidden-word@127.0.0.1:1',
  DATABASE_URL: 'postgres://user:hidden-word@127.0.0.1:1/none',
};

test('tierline alone is a usage error that shows the commands', async (t) => {
  const { code, stdout } = await runCommand(env, []);
  t.is(code, 2);
  for (const { name } of COMMANDS) t.true(stdout.includes(`  ${name} `), name);
});

test('tierline --help and --version end well', async (t) => {
  t.is((await runCommand(env, ['--help'])).code, 0);
  const { code, stdout } = await runCommand(env, ['--version']);
  t.is(code, 0);
  t.regex(stdout, /^\d+\.\d+\.\d+\n$/);
});

test('every command has help with its options and an example', async (t) => {
  for (const { name, options, examples } of COMMANDS) {
    const { code, stdout } = await runCommand(env, [...name.split(' '), '--help']);
    t.is(code, 0, name);
    for (const option of Object.keys(options)) t.true(stdout.includes(`--${option}`), `${name} --${option}`);
    t.true(examples.length > 0, name);
    t.true(stdout.includes(`  tierline ${name}`), name);
  }
});

const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [['putt'], /no command "putt"/],
  [['merkle'], /needs one more word: merkle root, merkle prefix, merkle verify/],
  [['merkle', 'roots'], /needs one more word/],
  [['dead-letters'], /needs one more word/],
  [['put', 'a', 'b'], /"b" is one argument too many/],
  [['put', '-', '--wat'], /Unknown option '--wat'/],
  [['put', '-', '--id'], /--id/],
  [['put', '-', '--strict=yes'], /--strict/],
  [['put', '-', '--format', 'xml'], /--format is one of ndjson, csv/],
  [['put', '-', '--timeout', '-1'], /--timeout/],
  [['put', '-', '--timeout', 'soon'], /--timeout takes seconds/],
  [['get'], /<id>\.\.\. is missing/],
  [['delete'], /\[id\]\.\.\., --prefix or --state is missing/],
  [['delete', 'a', '--prefix', 'b'], /ids exclude/],
  [['delete', '--prefix', 'a', '--state', 'b'], /--prefix and --state exclude each other/],
  [['scan', 'a'], /one argument too many/],
  [['scan', '--prefix', 'a', '--state', 'b'], /exclude each other/],
  [['scan', '--limit', '0'], /--limit takes a whole number from 1/],
  [['scan', '--limit', '1.5'], /--limit takes a whole number/],
  [['scan', '--limit', '99999999999999999999'], /--limit takes a whole number/],
  [['count', '--prefix', 'a', '--state', 'b'], /exclude each other/],
  [['tail', '--limit', 'x'], /--limit/],
  [['dead-letters', 'show'], /<number> is missing/],
  [['dead-letters', 'show', 'x'], /number of a letter takes a whole number/],
  [['dead-letters', 'show', '1', '2'], /one argument too many/],
  [['dead-letters', 'replay'], /\[number\]\.\.\. or --all is missing/],
  [['dead-letters', 'replay', '1', '--all'], /exclude --all/],
  [['dead-letters', 'replay', '0'], /whole number from 1/],
  [['dead-letters', 'purge'], /is missing/],
  [['dead-letters', 'purge', '--all', '--older-than', '3'], /exclude each other/],
  [['dead-letters', 'purge', '3', '--older-than', '3'], /exclude --older-than/],
  [['merkle', 'prefix'], /<path> is missing/],
  [['migrate', 'now'], /one argument too many/],
];
for (const [args, message] of WRONG) {
  test(`exit 2 and why: tierline ${args.join(' ')}`, async (t) => {
    const { code, stdout, stderr } = await runCommand(env, args);
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, message);
  });
}

const AWAY: readonly (readonly string[])[] = [
  ['put', '-'],
  ['get', 'a'],
  ['delete', 'a'],
  ['scan'],
  ['count'],
  ['status'],
  ['status', 'a'],
  ['tail'],
  ['pressure'],
  ['dead-letters', 'list'],
  ['dead-letters', 'show', '1'],
  ['dead-letters', 'replay', '1'],
  ['dead-letters', 'purge', '1'],
  ['merkle', 'root'],
  ['merkle', 'prefix', 'a'],
  ['merkle', 'verify'],
  ['migrate'],
];
for (const args of AWAY) {
  test(`exit 1, class code and no stack or password without servers: tierline ${args.join(' ')}`, async (t) => {
    const { code, stdout, stderr } = await runCommand(env, args, '{"id":"a","content":1}\n');
    t.is(code, 1);
    t.is(stdout, '');
    t.regex(stderr, /^tierline: .*\(ERR_(QUEUE|TIER)_UNAVAILABLE\)\n$/);
    t.false(stderr.includes('    at '));
    t.false(stderr.includes('hidden-word'));
  });
}

test('doctor without servers tells what is away and what to do', async (t) => {
  const { code, stdout } = await runCommand(env, ['doctor']);
  t.is(code, 1);
  t.regex(stdout, /FAIL {2}redis: connection .*\n +fix: .*REDIS_URL/);
  t.regex(stdout, /FAIL {2}postgres: connection .*\n +fix: .*DATABASE_URL/);
  t.false(stdout.includes('hidden-word'));
});

test('configuration that cannot be used is told by name', async (t) => {
  const { code, stderr } = await runCommand({ ...env, TIERLINE_CHUNK_MAX_ITEM: '5' }, ['count']);
  t.is(code, 1);
  t.regex(
    stderr,
    /TIERLINE_CHUNK_MAX_ITEM is not an option; did you mean TIERLINE_CHUNK_MAX_ITEMS\? \(ERR_CONFIG\)/,
  );
});
