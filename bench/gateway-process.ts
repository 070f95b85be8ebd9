import { hashToken } from '../src/gateway/tokens.ts';
import { tokenEntry } from '../src/gateway-tokens.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';

/** Of a gateway under measurement; it may do everything. */
export const TOKEN = 'bench';

/** A gateway as a process of its own, without a limit of requests. */
export async function startGatewayProcess(
  deployment: Deployment,
  settings: NodeJS.ProcessEnv = {},
): Promise<{ url: string; pid: number; stop(): Promise<unknown> }> {
  const scopes = ['read', 'write', 'peer'] as const;
  const token = { name: 'bench', scopes, hash: hashToken(TOKEN), prefix: '' };
  const worker = await startWorker('gateway', {
    ...deployment.env,
    ...settings,
    TIERLINE_GATEWAY_PORT: '0',
    TIERLINE_GATEWAY_TOKENS: tokenEntry(token),
    TIERLINE_GATEWAY_REQUESTS_PER_SECOND: '1000000',
  });
  const url = /"url":"([^"]+)"/.exec(worker.output())?.[1] ?? '';
  return { url, pid: worker.child.pid as number, stop: () => worker.stop() };
}
