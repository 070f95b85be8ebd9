import { loadConfig } from '../src/config.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import type { Model } from './model.ts';
import type { Report } from './report.ts';

/** What the stages of the demo work on. */
export interface Scene {
  readonly deployment: Deployment;
  readonly model: Model;
  readonly report: Report;
  /** Ends the demo: somebody pressed Ctrl-C, or a worker ended that nobody asked to. */
  readonly signal: AbortSignal;
}

/**
 * Where the demo writes: databases and a namespace of its own, because exact counts need an empty place, also on servers that
 * others use. Its connections go past the library, to see what is really there.
 */
export function openDeployment(): Promise<Deployment> {
  const { partitions = 1, shards } = loadConfig({});
  return createDeployment(
    { partitions },
    shards.map(({ name }) => name),
  );
}
