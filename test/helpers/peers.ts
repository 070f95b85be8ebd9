import type { ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { startTestGateway } from './gateway.ts';
import { chunkOf, type TestOp } from './operations.ts';
import { type Proxy, startProxy } from './proxy.ts';
import { closing, createSetting, type Setting } from './setting.ts';
import { writerOf } from './writer.ts';

const ONE = { partitions: 1 };

export interface TwoSides {
  readonly own: Setting;
  readonly other: Setting;
  /** Between the own side and the gateway of the other one. */
  readonly link: Proxy;
  /** Of the own side, with the other one as the peer `eu`. */
  readonly options: Options;
  /** The same for processes. */
  readonly env: NodeJS.ProcessEnv;
}

/** Two deployments, of which the other one has a gateway behind a link that can be cut. */
export async function createTwoSides(t: ExecutionContext): Promise<TwoSides> {
  const [own, other] = await Promise.all([createSetting(t, ONE), createSetting(t, ONE)]);
  const gateway = await startTestGateway(t, other.deployment);
  const link = closing(t, await startProxy(gateway.url));
  await Promise.all([own.drain(), other.drain()]);
  const options: Options = {
    ...own.deployment.options,
    peers: [{ name: 'eu', url: link.url }],
    peerTokens: [{ name: 'eu', token: 'peer' }],
  };
  const env = { ...own.deployment.env, TIERLINE_PEERS: `eu=${link.url}`, TIERLINE_PEER_TOKENS: 'eu=peer' };
  return { own, other, link, options, env };
}

/** As a worker writes, each operation in a batch of its own. */
export async function writeRows({ deployment }: Setting, ops: readonly TestOp[]): Promise<void> {
  for (const op of ops) await writerOf(deployment).write([chunkOf([op])]);
}
