import type { Arguments } from './arguments.ts';
import type { Connections } from './connections.ts';
import type { ExitCode } from './exit-code.ts';
import type { OptionSpecs } from './option-spec.ts';
import type { Terminal } from './terminal.ts';

export interface Context {
  readonly terminal: Terminal;
  readonly connections: Connections;
  /** `--json` was given: print JSON, one value a line. */
  readonly json: boolean;
}

export interface Command {
  /** As typed: `put`, `merkle root`. */
  readonly name: string;
  readonly summary: string;
  /** Positional arguments, in the help: `<id>...`. */
  readonly takes: string;
  readonly minArguments: number;
  readonly maxArguments: number;
  readonly options: OptionSpecs;
  /** Command lines without the leading `tierline`, each with what it does. */
  readonly examples: readonly (readonly [line: string, effect: string])[];
  /** Throws UsageError, or a TierlineError of the library. */
  run(context: Context, args: Arguments): Promise<ExitCode>;
}
