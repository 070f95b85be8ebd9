import type { AddressInfo } from 'node:net';
import { loadConfig, type Options } from '../config.ts';
import { ConfigError, messageOf } from '../errors.ts';
import { createLogger } from '../log.ts';
import { createDashboard } from './server.ts';

export interface RunningDashboard extends AsyncDisposable {
  /** `http://127.0.0.1:3000` */
  readonly url: string;
  /** Answers the requests that have come, then ends, within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

/**
 * Serves the dashboard as a server of its own: Tierline's pages, Bull Board at `/queues`, health, readiness and metrics.
 * @throws ConfigError without credentials or when the port cannot be had, QueueUnavailableError, TierUnavailableError,
 *   SchemaMissingError, MerkleKeyError
 */
export async function startDashboard(options: Options = {}): Promise<RunningDashboard> {
  const config = loadConfig(options);
  const log = createLogger('dashboard', config.logLevel);
  const dashboard = await createDashboard(config, log);
  const { dashboardHost: host, dashboardPort: port } = config;
  try {
    await dashboard.app.listen({ host, port });
  } catch (error) {
    await dashboard.close();
    throw new ConfigError(
      `The dashboard cannot listen on ${host} port ${port}: ${messageOf(error)}. Set TIERLINE_DASHBOARD_HOST or TIERLINE_DASHBOARD_PORT.`,
      { cause: error },
    );
  }
  dashboard.readiness.enter('running');
  const address = dashboard.app.server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url }, 'dashboard started');

  let closing: Promise<void> | undefined;
  const close = () => (closing ??= dashboard.close().then(() => log.info('dashboard stopped')));
  return { url, close, [Symbol.asyncDispose]: close };
}
