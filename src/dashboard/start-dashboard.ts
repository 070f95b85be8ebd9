import type { AddressInfo } from 'node:net';
import { loadConfig, type Options } from '../config.ts';
import { ConfigError, messageOf } from '../errors.ts';
import { createLogger } from '../log.ts';
import { StopPhases } from '../stop-phases.ts';
import { CopyCounter } from './copy-counter.ts';
import { Credentials } from './credentials.ts';
import { createServer } from './server.ts';
import { openSources } from './sources.ts';

export interface RunningDashboard extends AsyncDisposable {
  /** `http://127.0.0.1:3000` */
  readonly url: string;
  /** Answers what is being asked, then ends, within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

/**
 * Serves the dashboard: Tierline's own pages, Bull Board at `/queues`, health, readiness and metrics.
 * @throws ConfigError without credentials or when the port cannot be had, QueueUnavailableError, TierUnavailableError,
 *   SchemaMissingError, MerkleKeyError
 */
export async function startDashboard(options: Options = {}): Promise<RunningDashboard> {
  const config = loadConfig(options);
  const log = createLogger('dashboard', config.logLevel);
  const credentials = new Credentials(config);
  const { sources, close: closeSources } = await openSources(config, log);
  const counter = new CopyCounter(sources);
  const { app, readiness } = await createServer(sources, credentials, counter);

  async function release(): Promise<void> {
    const phases = new StopPhases(config.shutdownMs);
    await phases.within(
      'work',
      app.close().then(() => counter.close()),
    );
    await phases.within('connections', closeSources());
  }

  const { dashboardHost: host, dashboardPort: port } = config;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await release();
    throw new ConfigError(
      `The dashboard cannot listen on ${host} port ${port}: ${messageOf(error)}. Set TIERLINE_DASHBOARD_HOST or TIERLINE_DASHBOARD_PORT.`,
      { cause: error },
    );
  }
  readiness.enter('running');
  const address = app.server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url }, 'dashboard started');

  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    readiness.enter('stopping');
    await release();
    log.info('dashboard stopped');
  }
  const close = () => (closing ??= stop());
  return { url, close, [Symbol.asyncDispose]: close };
}
