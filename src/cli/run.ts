import { loadConfig } from '../config.ts';
import { messageOf, TierlineError } from '../errors.ts';
import { createLogger, withoutCredentials } from '../log.ts';
import { VERSION } from '../version.ts';
import { Arguments } from './arguments.ts';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { Connections } from './connections.ts';
import { EXIT, type ExitCode, UsageError } from './exit-code.ts';
import { helpOf, overview, usageOf } from './help.ts';
import { printable } from '../printable.ts';
import type { Terminal } from './terminal.ts';

/** Runs one command line (without `node` and the script) and returns its exit code. */
export async function run(argv: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const [first] = argv;
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    const text = first === 'help' && argv.length > 1 ? helpFor(argv.slice(1)) : overview(COMMANDS);
    if (text !== undefined) {
      await terminal.print(text);
      return first === undefined ? EXIT.usage : EXIT.ok;
    }
  }
  if (first === '--version') {
    await terminal.print(VERSION);
    return EXIT.ok;
  }
  const command = commandOf(argv);
  if (command === undefined) {
    const groups = COMMANDS.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name);
    terminal.complain(
      groups.length > 0
        ? `tierline: ${first} needs one more word: ${groups.join(', ')}`
        : `tierline: there is no command ${JSON.stringify(first)}; tierline --help lists them`,
    );
    return EXIT.usage;
  }
  try {
    return await runCommand(command, argv.slice(command.name.split(' ').length), terminal);
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.complain(`tierline ${command.name}: ${printable(error.message)}\n${usageOf(command)}`);
      return EXIT.usage;
    }
    const code = error instanceof TierlineError ? ` (${error.code})` : '';
    terminal.complain(`tierline: ${printable(withoutCredentials(messageOf(error)))}${code}`);
    return EXIT.failed;
  }
}

async function runCommand(command: Command, argv: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const args = Arguments.parse(argv, command.options);
  if (args.flag('help')) {
    await terminal.print(helpOf(command));
    return EXIT.ok;
  }
  const count = args.positionals.length;
  if (count < command.minArguments) throw new UsageError(`${command.takes} is missing`);
  if (count > command.maxArguments) {
    throw new UsageError(
      `${JSON.stringify(args.positionals[command.maxArguments])} is one argument too many`,
    );
  }
  const config = loadConfig();
  const log = createLogger('cli', args.flag('verbose') ? config.logLevel : 'silent', process.stderr);
  const connections = new Connections(config, log);
  try {
    return await command.run({ terminal, connections, json: args.flag('json') }, args);
  } finally {
    await connections.close();
  }
}

/** Names of two words win over their first word alone. */
function commandOf(argv: readonly string[]): Command | undefined {
  const [first, second] = argv;
  return (
    COMMANDS.find(({ name }) => name === `${first} ${second}`) ?? COMMANDS.find(({ name }) => name === first)
  );
}

function helpFor(argv: readonly string[]): string | undefined {
  const command = commandOf(argv);
  return command === undefined ? undefined : helpOf(command);
}
