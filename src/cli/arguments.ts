import { parseArgs } from 'node:util';
import { UsageError } from './exit-code.ts';
import type { OptionSpecs } from './option-spec.ts';

/** Options of every command. */
export const COMMON_OPTIONS: OptionSpecs = {
  json: { help: 'print JSON, one value a line' },
  verbose: { help: "write the library's log to standard error, at TIERLINE_LOG_LEVEL" },
  help: { help: 'show this help' },
};

/** The parsed command line of one command. */
export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, string | boolean | undefined>>;

  private constructor(positionals: readonly string[], values: Record<string, string | boolean | undefined>) {
    this.positionals = positionals;
    this.#values = values;
  }

  /** @throws UsageError for an unknown option, a missing value, or one too many. */
  static parse(argv: readonly string[], options: OptionSpecs): Arguments {
    const specs = Object.entries({ ...options, ...COMMON_OPTIONS }).map(([name, { takes }]) => [
      name,
      { type: takes === undefined ? 'boolean' : 'string', ...(name === 'help' ? { short: 'h' } : {}) },
    ]);
    try {
      const { values, positionals } = parseArgs({
        args: [...argv],
        options: Object.fromEntries(specs) as Record<string, { type: 'string' | 'boolean' }>,
        allowPositionals: true,
        strict: true,
      });
      return new Arguments(positionals, values);
    } catch (error) {
      // The first sentence; the rest tells of a syntax for positionals that is rarely the trouble.
      const message = error instanceof Error ? error.message : String(error);
      throw new UsageError(message.split('. ', 1)[0] ?? message, { cause: error });
    }
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  /** @throws UsageError when it is not one of `choices`. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined || choices.includes(value as T)) return value as T | undefined;
    throw new UsageError(`--${name} is one of ${choices.join(', ')}`);
  }

  /** @throws UsageError when it is not a whole number from `minimum`. */
  integer(name: string, minimum: number): number | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : wholeNumber(value, `--${name}`, minimum);
  }

  /** Seconds, as milliseconds. @throws UsageError */
  seconds(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const seconds = Number(value);
    // Timers of Node end at 2^31 ms.
    if (value.trim() === '' || !(seconds > 0 && seconds <= 2_000_000)) {
      throw new UsageError(`--${name} takes seconds above 0 and up to 2,000,000`);
    }
    return seconds * 1000;
  }

  /** @throws UsageError when more than one of them is given. */
  atMostOne(...names: readonly string[]): void {
    const given = names.filter((name) => this.#values[name] !== undefined);
    if (given.length > 1)
      throw new UsageError(`${given.map((name) => `--${name}`).join(' and ')} exclude each other`);
  }
}

export function wholeNumber(value: string, what: string, minimum: number): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < minimum) {
    throw new UsageError(`${what} takes a whole number from ${minimum}`);
  }
  return number;
}
