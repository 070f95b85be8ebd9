import { COMMON_OPTIONS } from './arguments.ts';
import type { Command } from './command.ts';
import { VERSION } from '../version.ts';

export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    `tierline ${VERSION}: write-behind tiered storage on BullMQ, Redis and Postgres`,
    '',
    'Usage: tierline <command> [options]',
    '',
    'Commands:',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'tierline <command> --help shows the options and examples of a command.',
    'Connections come from the environment: REDIS_URL, CACHE_REDIS_URL, DATABASE_URL, TIERLINE_NAMESPACE.',
    'Exit codes: 0 all is well, 1 something failed, 2 the command line was not understood.',
  ].join('\n');
}

export function helpOf({ name, summary, takes, options, examples }: Command): string {
  const all = Object.entries({ ...options, ...COMMON_OPTIONS }).map(
    ([option, { takes, help }]) => [`--${option}${takes === undefined ? '' : ` ${takes}`}`, help] as const,
  );
  const width = Math.max(...all.map(([option]) => option.length));
  return [
    usageOf({ name, takes }),
    '',
    summary,
    '',
    'Options:',
    ...all.map(([option, help]) => `  ${option.padEnd(width)}  ${help}`),
    '',
    'Examples:',
    ...examples.flatMap(([line, effect]) => [`  # ${effect}`, `  ${line.replaceAll('@', 'tierline')}`]),
  ].join('\n');
}

export function usageOf({ name, takes }: Pick<Command, 'name' | 'takes'>): string {
  return `Usage: tierline ${name}${takes === '' ? '' : ` ${takes}`} [options]`;
}
