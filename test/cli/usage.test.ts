import { createRequire } from 'node:module';
import test from 'ava';
import { leavesOf, pathOf } from '../../src/cli/command.ts';
import { program } from '../../src/cli/program.ts';
import { type Finished, runCommand, runLines } from '../helpers/command-line.ts';

const COMMANDS = leavesOf(program);

// Nothing listens there: what these commands do, they do without a server.
const env = {
  ...process.env,
  REDIS_URL: 'redis://user:hidden-word@127.0.0.1:1',
  DATABASE_URL: 'postgres://user:hidden-word@127.0.0.1:1/none',
  TIERLINE_SHARDS: '',
};

test('tierline alone is a usage error that shows the commands', async (t) => {
  const { code, stdout } = await runCommand(env, []);
  t.is(code, 2);
  for (const name of COMMANDS.map(pathOf)) t.true(stdout.includes(`  ${name} `), name);
});

test('a command that does not write starts without BullMQ, a third of what there is to load', (t) => {
  const loaded = Object.keys(createRequire(import.meta.url).cache);
  t.true(loaded.some((file) => file.includes('/ioredis/')));
  t.deepEqual(
    loaded.filter((file) => file.includes('/bullmq/')),
    [],
  );
});

test('tierline --help and --version end well', async (t) => {
  t.is((await runCommand(env, ['--help'])).code, 0);
  const { code, stdout } = await runCommand(env, ['--version']);
  t.is(code, 0);
  t.regex(stdout, /^\d+\.\d+\.\d+\n$/);
});

test('every command has help with its options and an example', async (t) => {
  for (const command of COMMANDS) {
    const name = pathOf(command);
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    for (const { long } of command.options) t.true(help.includes(`  ${long}`), `${name} ${long}`);
    const [, examples = ''] = help.split('Examples:\n');
    t.true(examples.includes(`tierline ${name}`), name);
  }
  const { code, stdout } = await runCommand(env, ['merkle', 'verify', '--help']);
  t.is(code, 0);
  t.true(stdout.includes('  --content'));
});

const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [['putt'], /unknown command 'putt'.*Did you mean put/s],
  [['merkle'], /merkle root .*merkle prefix .*merkle verify /s],
  [['merkle', 'roots'], /unknown command 'roots'.*Did you mean root/s],
  [['dead-letters'], /dead-letters list .*dead-letters purge /s],
  [['put', 'a', 'b'], /too many arguments for 'put'. Expected 1 argument but got 2/],
  [['put', '-', '--wat'], /unknown option '--wat'/],
  [['put', '-', '--id'], /--id/],
  [['put', '-', '--strict=yes'], /--strict/],
  [['put', '-', '--format', 'xml'], /--format.*Allowed choices are ndjson, csv/],
  [['put', '-', '--timeout', '-1'], /--timeout/],
  [['put', '-', '--timeout', 'soon'], /--timeout.*It takes seconds/],
  [['get'], /missing required argument 'id'/],
  [['delete'], /\[id\]\.\.\., --prefix or --state is missing/],
  [['delete', 'a', '--prefix', 'b'], /ids exclude/],
  [['delete', '--prefix', 'a', '--state', 'b'], /--prefix.* cannot be used with option '--state/],
  [['scan', 'a'], /too many arguments for 'scan'/],
  [['scan', '--prefix', 'a', '--state', 'b'], /--prefix.* cannot be used with option '--state/],
  [['scan', '--limit', '0'], /--limit.*It takes a whole number from 1/],
  [['scan', '--limit', '1.5'], /--limit.*It takes a whole number/],
  [['scan', '--limit', '99999999999999999999'], /--limit.*It takes a whole number/],
  [['count', '--prefix', 'a', '--state', 'b'], /--prefix.* cannot be used with option '--state/],
  [['tail', '--limit', 'x'], /--limit/],
  [['dead-letters', 'show'], /missing required argument 'number'/],
  [['dead-letters', 'show', 'x'], /argument 'number'.*It takes a whole number/],
  [['dead-letters', 'show', '1', '2'], /too many arguments for 'show'/],
  [['dead-letters', 'replay'], /\[number\]\.\.\. or --all is missing/],
  [['dead-letters', 'replay', '1', '--all'], /exclude --all/],
  [['dead-letters', 'replay', '0'], /whole number from 1/],
  [['dead-letters', 'purge'], /is missing/],
  [
    ['dead-letters', 'purge', '--all', '--older-than', '3'],
    /--all' cannot be used with option '--older-than/,
  ],
  [['dead-letters', 'purge', '3', '--older-than', '3'], /exclude --older-than/],
  [['merkle', 'prefix'], /missing required argument 'path'/],
  [['migrate', 'now'], /too many arguments for 'migrate'/],
  [['worker', 'twice'], /too many arguments for 'worker'/],
  [['completion', 'fish'], /Allowed choices are bash, zsh/],
];
let refused: Promise<Finished[]> | undefined;
for (const [i, [args, message]] of WRONG.entries()) {
  test(`exit 2 and why: tierline ${args.join(' ')}`, async (t) => {
    refused ??= runLines(
      env,
      WRONG.map(([line]) => line),
    );
    const { code, stdout, stderr } = (await refused)[i] as Finished;
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
