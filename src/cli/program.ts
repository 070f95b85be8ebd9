import { Argument, Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { VERSION } from '../version.ts';
import { examples, EXIT, leavesOf, pathOf } from './command.ts';
import { copies } from './commands/copies.ts';
import { deadLetters } from './commands/dead-letters.ts';
import { migrate, pressure, status, tail } from './commands/deployment.ts';
import { doctor } from './commands/doctor.ts';
import { count, deleteCommand, get, scan } from './commands/items.ts';
import { gateway } from './commands/gateway.ts';
import { merkle } from './commands/merkle.ts';
import { partitions } from './commands/partitions.ts';
import { put } from './commands/put.ts';
import { printPasswordHash, PROCESSES } from './processes.ts';
import { Terminal } from './terminal.ts';

const NOTES = `
tierline <command> --help shows the options and examples of a command.
Connections come from the environment: REDIS_URL, CACHE_REDIS_URL, DATABASE_URL, TIERLINE_NAMESPACE.
Exit codes: 0 all is well, 1 something failed, 2 the command line was not understood.`;

const start = new Command('start')
  .description('Run a drain worker, maintenance and the dashboard until a signal ends them')
  .addHelpText('after', examples(['tierline start', 'one machine; the end of one process ends them all']))
  .action(processOf('start'));

const worker = new Command('worker')
  .description('Run a drain worker until a signal ends it; any number may run')
  .addHelpText(
    'after',
    examples(['NODE_OPTIONS=--max-semi-space-size=8 tierline worker', 'takes less memory']),
  )
  .action(processOf('worker'));

const maintenance = new Command('maintenance')
  .description('Run the recurring chores until a signal ends it; any number may run')
  .addHelpText('after', examples(['tierline maintenance', 'folds, sweeps, purges, snapshots of the filter']))
  .action(processOf('maintenance'));

const dashboard = new Command('dashboard')
  .description('Serve the dashboard until a signal ends it')
  .option('--hash-password', 'read a password from standard input and print its hash')
  .addHelpText(
    'after',
    examples(
      ['tierline dashboard', 'needs TIERLINE_DASHBOARD_PASSWORD_HASH or TIERLINE_DASHBOARD_TOKEN'],
      ['printf %s "$PASSWORD" | tierline dashboard --hash-password', 'a hash for the former'],
    ),
  )
  .action(async ({ hashPassword }) => {
    if (hashPassword) process.exitCode = await printPasswordHash();
    else await processOf('dashboard')();
  });

const completion = new Command('completion')
  .description('Print the completion of commands and options for a shell')
  .addArgument(new Argument('<shell>').choices(['bash', 'zsh']))
  .addHelpText('after', examples(['tierline completion bash >> ~/.bashrc', 'also with zsh and ~/.zshrc']))
  .action((shell) => console.log(completionScript(shell)));

export const program: CommandUnknownOpts = new Command('tierline')
  .description(`tierline ${VERSION}: write-behind tiered storage on BullMQ, Redis and Postgres`)
  .version(VERSION, '--version')
  .addHelpText('after', NOTES)
  .exitOverride()
  .showHelpAfterError('tierline <command> --help shows the options of a command.')
  .configureHelp({ visibleCommands: leavesOf, subcommandTerm: pathOf })
  .configureOutput({
    writeErr: (text) => new Terminal(process.stdout, process.stderr).complain(text.trimEnd()),
    outputError: (text, write) => write(text.replace(/^error/, 'tierline')),
  });

// In the order of the help.
for (const child of [
  put,
  get,
  deleteCommand,
  scan,
  count,
  status,
  tail,
  pressure,
  deadLetters,
  copies,
  merkle,
  partitions,
  doctor,
  migrate,
  start,
  worker,
  maintenance,
  dashboard,
  gateway,
  completion,
]) {
  program.addCommand(inherit(child, program));
}

/** Runs one command line, without `node` and the script, and sets the exit code. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    if (argv.length > 0) await program.parseAsync(argv, { from: 'user' });
    else {
      program.outputHelp();
      process.exitCode = EXIT.usage;
    }
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
}

/** Gives a command, and those below it, the settings of the program: how errors and help are shown. */
function inherit(child: CommandUnknownOpts, parent: CommandUnknownOpts): CommandUnknownOpts {
  child.copyInheritedSettings(parent);
  for (const grandchild of child.commands) inherit(grandchild, child);
  return child;
}

function processOf(name: string): () => Promise<void> {
  return PROCESSES.get(name) as () => Promise<void>;
}

/** A function of bash that zsh can use too. It looks at the words typed so far, and offers files where nothing else fits. */
function completionScript(shell: 'bash' | 'zsh'): string {
  const cases = leavesOf(program)
    .map((leaf) => [pathOf(leaf), leaf.options.map(({ long }) => long).join(' ')] as const)
    .concat(program.commands.filter(({ commands }) => commands.length > 0).map(wordsBelow))
    .map(([path, words]) => `    ${JSON.stringify(`${path} `)}*) words='${words}' ;;`);
  const lines = [
    ...(shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : []),
    '_tierline() {',
    '  local words=\'\' typed="${COMP_WORDS[*]:1:COMP_CWORD-1} "',
    '  case "$typed" in',
    `    ' ') words='${wordsBelow(program)[1]}' ;;`,
    ...cases,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
    '}',
    'complete -o default -F _tierline tierline',
  ];
  return lines.join('\n');
}

function wordsBelow(parent: CommandUnknownOpts): readonly [path: string, words: string] {
  return [pathOf(parent), parent.commands.map((child) => child.name()).join(' ')];
}
