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
  /** Closes it when the test ends, before everything that was there earlier. */
  use<T extends Closable>(thing: T): T;
  /** Starts a worker. Tests that look at the queue first do it later. */
  drain(): Promise<DrainWorker>;
}

export async function createSetting(t: ExecutionContext, options: Options = {}): Promise<Setting> {
  const deployment = await createDeployment(options);
  const things: Closable[] = [deployment];
  t.teardown(async () => {
    for (const thing of things.toReversed()) await thing.close();
  });
  const use: Setting['use'] = (thing) => {
    things.push(thing);
    return thing;
  };
  return { deployment, use, drain: async () => use(await startDrain(deployment.options)) };
}
