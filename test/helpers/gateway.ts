import type { ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { startGateway } from '../../src/gateway/gateway.ts';
import { hashToken } from '../../src/gateway/tokens.ts';
import type { GatewayToken, Scope } from '../../src/gateway-tokens.ts';
import type { Deployment } from './deployment.ts';
import { closing } from './setting.ts';

/** The tokens of a gateway under test are their own names. */
function known(name: string, scopes: readonly Scope[], prefix = ''): GatewayToken {
  return { name, scopes, hash: hashToken(name), prefix };
}

export const TOKENS = [
  known('all', ['read', 'write']),
  known('reader', ['read']),
  known('writer', ['write']),
  known('shop', ['read', 'write'], 'shop.'),
  known('peer', ['peer']),
];

export type Call = (path: string, init?: RequestInit & { readonly token?: string }) => Promise<Response>;

export interface TestGateway {
  readonly url: string;
  /** With the token `all`, unless another or '' for none is given. */
  readonly call: Call;
  /** Sends JSON, or text of another type. */
  readonly send: (method: string, path: string, body: unknown, type?: string) => Promise<Response>;
  close(): Promise<void>;
}

export function callerOf(url: string): Call {
  return (path, { token = 'all', headers, ...init } = {}) =>
    fetch(`${url}${path}`, {
      ...init,
      headers: {
        ...(token !== '' && { authorization: `Bearer ${token}` }),
        ...(headers as Record<string, string>),
      },
    });
}

export async function startTestGateway(
  t: Pick<ExecutionContext, 'teardown'>,
  deployment: Deployment,
  extra: Options = {},
): Promise<TestGateway> {
  const options = { ...deployment.options, gatewayPort: 0, gatewayTokens: TOKENS, ...extra };
  const gateway = closing(t, await startGateway(options));
  const call = callerOf(gateway.url);
  return {
    url: gateway.url,
    call,
    send: (method, path, body, type = 'application/json') =>
      call(path, {
        method,
        headers: { 'content-type': type },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    close: () => gateway.close(),
  };
}

/** Its status, type and code, which tell how a request was refused. */
export async function refusalOf(response: Response): Promise<readonly [number, string | undefined, unknown]> {
  const { code } = (await response.json()) as { readonly code?: unknown };
  return [response.status, response.headers.get('content-type')?.split(';')[0], code];
}
