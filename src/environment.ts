import { nearMiss } from './nearest.ts';

const PREFIX = 'TIERLINE_';

/** An address as Kubernetes and Docker write it into `NAME_PORT`. */
const ADDRESS = /^(tcp|udp|sctp):\/\//;
/** The other names that they derive from a service's: `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP_ADDR`, `NAME_ENV_PATH`, … */
const DERIVED =
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?$/;
const LINKED = /^TIERLINE(_[A-Z0-9_]+)?_(ENV_.+|NAME)$/;

/** What the environment holds under Tierline's prefix beside its options. */
export interface Strangers {
  /** Misspelt options, as sentences: to be refused. */
  readonly mistakes: readonly string[];
  /** Names that mean nothing here: to be warned of. */
  readonly unknown: readonly string[];
}

/**
 * Kubernetes and Docker put variables into every process that are named after services. For a service named `tierline` they
 * begin like options, so only a near miss of an option is taken for a mistake.
 */
export function strangersIn(environment: NodeJS.ProcessEnv, known: readonly string[]): Strangers {
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
export function isInjected(name: string, value: string): boolean {
  if (!name.startsWith('TIERLINE')) return false;
  if (DERIVED.test(name) || (name.endsWith('_PORT') && ADDRESS.test(value))) return true;
  // Docker's links: the container's own variables, and its name as a path.
  return LINKED.test(name) && (name.includes('_ENV_') || value.startsWith('/'));
}
