/** What every command ends with. */
export const EXIT = {
  ok: 0,
  /** Something failed: a broken line, an item that is missing, a backend that is away. */
  failed: 1,
  /** The command line could not be understood; nothing was done. */
  usage: 2,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The command line cannot be understood. */
export class UsageError extends Error {}
