import { Command, type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';
import { loadConfig } from '../config.ts';
import { messageOf, TierlineError } from '../errors.ts';
import { createLogger, withoutCredentials } from '../log.ts';
import { printable } from '../printable.ts';
import { Connections } from './connections.ts';
import { Terminal } from './terminal.ts';

/** How every command ends. */
export const EXIT = {
  ok: 0,
  /** Something failed: a broken line, an item that is missing, a backend that is away. */
  failed: 1,
  /** The command line could not be understood; nothing was done. */
  usage: 2,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The options of a command do not fit together. */
export class UsageError extends Error {}

export interface Context {
  readonly terminal: Terminal;
  readonly connections: Connections;
  /** `--json` was given: print JSON, one value a line. */
  readonly json: boolean;
}

/** A command with the options that most commands have. */
export function command(name: string, summary: string) {
  return new Command(name)
    .description(summary)
    .option('--json', 'print JSON, one value a line')
    .option('--verbose', "write the library's log to standard error, at TIERLINE_LOG_LEVEL");
}

/** @param lines command lines, each with what it does */
export function examples(...lines: readonly (readonly [line: string, effect: string])[]): string {
  return ['', 'Examples:', ...lines.flatMap(([line, effect]) => [`  # ${effect}`, `  ${line}`])].join('\n');
}

/**
 * The action of a command: opens what `run` asks for, closes it, and sets the exit code. `run` may throw UsageError and the
 * library's errors.
 */
export function action<Args extends unknown[]>(
  run: (context: Context, ...args: Args) => Promise<ExitCode>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    const [options, self] = args.slice(-2) as [{ json?: true; verbose?: true }, CommandUnknownOpts];
    const terminal = new Terminal(process.stdout, process.stderr);
    try {
      const config = loadConfig();
      const log = createLogger('cli', options.verbose ? config.logLevel : 'silent', process.stderr);
      const connections = new Connections(config, log);
      try {
        process.exitCode = await run({ terminal, connections, json: options.json === true }, ...args);
      } finally {
        await connections.close();
      }
    } catch (error) {
      if (error instanceof UsageError) self.error(`error: ${error.message}`);
      const code = error instanceof TierlineError ? ` (${error.code})` : '';
      terminal.complain(`tierline: ${printable(withoutCredentials(messageOf(error)))}${code}`);
      process.exitCode = EXIT.failed;
    }
  };
}

/** Reads a whole number from `minimum`. */
export function wholeNumber(minimum: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < minimum) {
      throw new InvalidArgumentError(`It takes a whole number from ${minimum}.`);
    }
    return number;
  };
}

/** Reads seconds as milliseconds. */
export function seconds(value: string): number {
  const number = Number(value);
  // Timers of Node end at 2^31 ms.
  if (value.trim() === '' || !(number > 0 && number <= 2_000_000)) {
    throw new InvalidArgumentError('It takes seconds above 0 and up to 2,000,000.');
  }
  return number * 1000;
}

/** The commands below this one that do something: `merkle root`, but not `merkle`. */
export function leavesOf(parent: CommandUnknownOpts): CommandUnknownOpts[] {
  return parent.commands.flatMap((child) => (child.commands.length > 0 ? leavesOf(child) : [child]));
}

/** As typed after `tierline`: `put`, `merkle root`. */
export function pathOf(self: CommandUnknownOpts): string {
  const above = self.parent?.parent ? `${pathOf(self.parent)} ` : '';
  return above + self.name();
}
