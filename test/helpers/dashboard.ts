import type { InjectOptions, LightMyRequestResponse as Response } from 'fastify';
import { loadConfig, type Options } from '../../src/config.ts';
import { createDashboard, type Dashboard } from '../../src/dashboard/server.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import type { Deployment } from './deployment.ts';

const MAX_TRIES = 10;

export const TOKEN = 'a-token-of-more-than-32-characters';
export const BEARER = { authorization: `Bearer ${TOKEN}` };

/** A dashboard that does not listen: requests are injected. */
export interface QuietDashboard extends Dashboard {
  /** As a browser that signed in; the form's token is there to be sent. */
  signIn(): Promise<{ readonly headers: Record<string, string>; readonly csrf: string }>;
  request(options: InjectOptions): Promise<Response>;
}

/** On a busy machine Postgres may take longer for a new connection than the dashboard waits. A process is started again then. */
async function opened(open: () => Promise<Dashboard>): Promise<Dashboard> {
  for (let tries = 1; ; tries++) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof TierUnavailableError) || tries === MAX_TRIES) throw error;
    }
  }
}

export async function quietDashboard(
  deployment: Deployment,
  extra: Options = {},
  requestTimeoutMs?: number,
): Promise<QuietDashboard> {
  const config = loadConfig({ ...deployment.options, dashboardToken: TOKEN, ...extra });
  const dashboard = await opened(() =>
    createDashboard(config, deployment.log, { ...(requestTimeoutMs !== undefined && { requestTimeoutMs }) }),
  );
  const { app } = dashboard;
  await app.ready();
  return {
    ...dashboard,
    request: (options) => app.inject(options),
    async signIn() {
      const response = await app.inject({
        method: 'POST',
        url: '/sign-in',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        payload: new URLSearchParams({ secret: config.dashboardToken ?? TOKEN }).toString(),
      });
      const cookies = response.cookies.map(({ name, value }) => `${name}=${encodeURIComponent(value)}`);
      const headers = { cookie: cookies.join('; ') };
      const page = await app.inject({ url: '/dead-letters', headers });
      const csrf = /name="csrf" value="([^"]+)"/.exec(page.body)?.[1] ?? '';
      return { headers, csrf };
    },
  };
}
