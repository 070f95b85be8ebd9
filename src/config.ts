import type { z } from 'zod';
import { ConfigError } from './errors.ts';
import { nearest, nearMiss } from './nearest.ts';
import { OPTIONS } from './options.ts';
import { strangeReplica } from './shard-list.ts';
import type { CallOptions } from './types/call.ts';

type Specs = typeof OPTIONS;
export type Config = { readonly [K in keyof Specs]: z.output<Specs[K]['schema']> };

/** Options that `openProducer` and the others take. Each replaces the value of the environment. */
export type Options = { readonly [K in keyof Config]?: Config[K] | undefined };
/** What the `open…` functions take: options, and a signal that frees the caller; what opens after that is closed. */
export type OpenOptions = Options & CallOptions;

/**
 * The configuration from the environment with `overrides` on top.
 * @throws ConfigError naming each option that cannot be used, and misspelt ones with the nearest; other `TIERLINE_*` variables
 *   are warned of once a process, except those of Kubernetes and Docker
 */
export function loadConfig(overrides: Options = {}, environment: NodeJS.ProcessEnv = process.env): Config {
  const problems = [...unknownVariables(environment), ...unknownOptions(overrides)];
  const values: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(OPTIONS)) {
    const given = overrides[key as keyof Options];
    const raw = given ?? variable(environment, spec.env);
    const parsed = spec.schema.safeParse(raw);
    if (parsed.success) values[key] = parsed.data;
    else
      problems.push(
        `${given === undefined ? spec.env : key}: ${parsed.error.issues.map((i) => i.message).join('; ')}`,
      );
  }
  if (problems.length === 0) problems.push(...contradictions(values as Config, overrides));
  if (problems.length > 0) throw new ConfigError(`Configuration cannot be used. ${problems.join(' ')}`);
  return values as Config;
}

/** What is wrong about options that are right by themselves. */
function contradictions({ replicas, shards }: Config, overrides: Options): string[] {
  const problem = strangeReplica(
    replicas,
    shards.map(({ name }) => name),
  );
  const name = overrides.replicas === undefined ? OPTIONS.replicas.env : 'replicas';
  return problem === undefined ? [] : [`${name}: ${problem}`];
}

/** The value of a variable. One that is empty, as shells and compose files leave it, or made by Kubernetes counts as unset. */
function variable(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = environment[name];
  return value === undefined || value === '' || isInjected(name, value) ? undefined : value;
}

const warnedOf = new Set<string>();

function unknownVariables(environment: NodeJS.ProcessEnv): readonly string[] {
  const known = Object.values(OPTIONS).map((spec): string => spec.env);
  const { mistakes, unknown } = strangersIn(environment, known);
  for (const name of unknown) {
    if (warnedOf.has(name)) continue;
    warnedOf.add(name);
    process.emitWarning(`${name} is not an option of Tierline: it is ignored.`, {
      type: 'TierlineWarning',
      code: 'TIERLINE_UNKNOWN_VARIABLE',
    });
  }
  return mistakes;
}

function unknownOptions(overrides: Options): string[] {
  const known = Object.keys(OPTIONS);
  return Object.keys(overrides)
    .filter((name) => !known.includes(name))
    .map((name) => `${name} is not an option; did you mean ${nearest(name, known)}?`);
}

const PREFIX = 'TIERLINE_';

/** An address as Kubernetes and Docker write it into `NAME_PORT`. */
const ADDRESS = /^(tcp|udp|sctp):\/\//;
/** Other names that they make of a service's name: `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP_ADDR`, `NAME_ENV_PATH`, … */
const DERIVED =
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?$/;
const LINKED = /^TIERLINE(_[A-Z0-9_]+)?_(ENV_.+|NAME)$/;

/** Variables under Tierline's prefix that are no options. */
interface Strangers {
  /** Misspelt options, as sentences: to be refused. */
  readonly mistakes: readonly string[];
  /** Names that mean nothing here: to be warned of. */
  readonly unknown: readonly string[];
}

/**
 * Kubernetes and Docker give every process variables that are named after services. Those of a service named `tierline`
 * begin like options, so only a name that is nearly an option is taken for a mistake.
 */
function strangersIn(environment: NodeJS.ProcessEnv, known: readonly string[]): Strangers {
  const mistakes: string[] = [];
  const unknown: string[] = [];
  for (const [name, value = ''] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || known.includes(name) || isInjected(name, value)) continue;
    const meant = nearMiss(
      name.slice(PREFIX.length),
      known.filter((option) => option.startsWith(PREFIX)).map((option) => option.slice(PREFIX.length)),
    );
    if (meant === undefined) unknown.push(name);
    else mistakes.push(`${name} is not an option; did you mean ${PREFIX}${meant}?`);
  }
  return { mistakes, unknown };
}

/** Whether Kubernetes or Docker made this variable for a service or a linked container. */
function isInjected(name: string, value: string): boolean {
  if (!name.startsWith('TIERLINE')) return false;
  if (DERIVED.test(name) || (name.endsWith('_PORT') && ADDRESS.test(value))) return true;
  // Docker's links: the container's own variables, and its name as a path.
  return LINKED.test(name) && (name.includes('_ENV_') || value.startsWith('/'));
}
