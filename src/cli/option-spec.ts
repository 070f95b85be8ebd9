/** One option of a command. */
export interface OptionSpec {
  /** What it takes, in the help: `<field>`. Left out: a flag that takes nothing. */
  readonly takes?: string;
  readonly help: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;
