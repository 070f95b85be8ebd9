import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { loadConfig, type Options } from '../config.ts';
import { ConfigError, messageOf } from '../errors.ts';
import { createLogger } from '../log.ts';
import { gatewayMetrics } from '../metrics/process-metrics.ts';
import { createRegistry } from '../metrics/registry.ts';
import { createServiceMetrics } from '../metrics/service-metrics.ts';
import { LazyPeer } from '../peers/local-peer.ts';
import { StopPhases } from '../stop-phases.ts';
import { openStore } from '../store/open-store.ts';
import { ChangeFeeds } from './change-feeds.ts';
import type { GatewayApp } from './parts.ts';
import { createGatewayServer } from './server.ts';
import { Tokens } from './tokens.ts';

export interface RunningGateway extends AsyncDisposable {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Answers the requests that have come, then ends, within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

/**
 * Serves items over HTTP: docs/gateway.md.
 * @param registry shows the gateway's own metrics
 * @throws ConfigError without tokens or when the port cannot be had, and what `openStore` throws
 */
export async function startGateway(
  options: Options = {},
  registry: Registry = createRegistry('gateway'),
): Promise<RunningGateway> {
  const config = loadConfig(options);
  const tokens = new Tokens(config.gatewayTokens);
  const log = createLogger('gateway', config.logLevel);
  const service = createServiceMetrics(registry);
  const store = await openStore(options, service.observer);
  service.watchProducer(store);
  service.watchReader(store);
  const stopping = new AbortController();
  let feeds: ChangeFeeds | undefined;
  let app: GatewayApp | undefined;
  const peer = new LazyPeer(config, log);
  const closeConnections = () => Promise.all([store.close(), feeds?.close(), peer.close()]);
  try {
    feeds = await ChangeFeeds.open(config, log);
    const parts = { config, log, store, feeds, peer: () => peer.open(), stopping: stopping.signal };
    app = await createGatewayServer(parts, tokens, gatewayMetrics(registry));
    await listen(app, config.gatewayHost, config.gatewayPort);
  } catch (error) {
    await Promise.all([app?.close(), closeConnections()]);
    throw error;
  }
  const server = app;
  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    const phases = new StopPhases(config.shutdownMs);
    stopping.abort();
    await phases.within('work', server.close());
    server.server.closeAllConnections();
    await phases.within('connections', closeConnections());
    log.info('gateway stopped');
  }
  const close = () => (closing ??= stop());
  const address = server.server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url }, 'gateway started');
  return { url, close, [Symbol.asyncDispose]: close };
}

async function listen(app: GatewayApp, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw new ConfigError(
      `The gateway cannot listen on ${host} port ${port}: ${messageOf(error)}. Set TIERLINE_GATEWAY_HOST or TIERLINE_GATEWAY_PORT.`,
      { cause: error },
    );
  }
}
