import type { ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { type DrainWorker, startDrain } from '../../src/drain/start-drain.ts';
import { createDeployment, type Deployment } from './deployment.ts';

interface Closable {
  close(): Promise<unknown>;
}

/** A deployment for one test. */
export interface Setting {
  readonly deployment: Deployment;
  /** As `closing`. */
  use<T extends Closable>(thing: T): T;
  /** Starts a worker. Tests that look at the queue first do it later. */
  drain(): Promise<DrainWorker>;
}

/** Closes the thing when the test ends, before everything that was there earlier. */
export function closing<T extends Closable>(t: { teardown(end: () => Promise<void>): void }, thing: T): T {
  t.teardown(async () => void (await thing.close()));
  return thing;
}

/** @param shards as many databases, also on one server */
export async function createSetting(
  t: ExecutionContext,
  options: Options = {},
  shards?: readonly string[],
): Promise<Setting> {
  const deployment = closing(t, await createDeployment(options, shards));
  const use: Setting['use'] = (thing) => closing(t, thing);
  return { deployment, use, drain: async () => use(await startDrain(deployment.options)) };
}
