import type { Registry } from 'prom-client';
import type { Config } from '../config.ts';
import { startDrain } from '../drain/start-drain.ts';
import { startProbes } from '../health/probes.ts';
import { type ServiceModule, startWithProbes } from '../lifecycle/run-process.ts';
import type { Logger } from '../log.ts';
import type { ChoreObserver } from '../maintenance/chores.ts';
import { type Maintenance, startMaintenance } from '../maintenance/start-maintenance.ts';
import { drainMetrics, maintenanceMetrics, peerMetrics } from '../metrics/process-metrics.ts';
import { createRegistry } from '../metrics/registry.ts';
import { compareWithPeer } from '../peers/compare.ts';
import { follow } from '../peers/follow.ts';

export const worker: ServiceModule = {
  start(config: Config, log: Logger) {
    const registry = createRegistry('drain');
    const metrics = drainMetrics(registry);
    return startWithProbes(
      () => startProbes(config, log, registry, { deployment: false }),
      () => startDrain({}, metrics),
    );
  },
};

export const maintenance: ServiceModule = {
  start(config: Config, log: Logger) {
    const registry = createRegistry('maintenance');
    const metrics = maintenanceMetrics(registry);
    return startWithProbes(
      () => startProbes(config, log, registry, { deployment: true }),
      () => startMaintenanceWithPeers(config, log, registry, metrics),
    );
  },
};

async function startMaintenanceWithPeers(
  config: Config,
  log: Logger,
  registry: Registry,
  metrics: ChoreObserver,
): Promise<Maintenance> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const running = await startMaintenance({}, metrics, (name) => compareWithPeer(config, log, name, signal));
  try {
    const following = follow(config, log, peerMetrics(registry));
    const close = async () => {
      stopping.abort(new Error('Maintenance was stopped meanwhile. Ask for the comparison again.'));
      // At once: rows under way to a peer may take all the time that the chores have to end.
      await Promise.all([following.close(), running.close()]);
    };
    return { close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await running.close();
    throw error;
  }
}

export const dashboard: ServiceModule = {
  async start() {
    // Only the dashboard loads Bull Board.
    const { startDashboard } = await import('../dashboard/dashboard.ts');
    return startDashboard();
  },
};

export const gateway: ServiceModule = {
  async start(config: Config, log: Logger) {
    // Only the gateway loads the store and the page of its routes.
    const { startGateway } = await import('../gateway/gateway.ts');
    const registry = createRegistry('gateway');
    return startWithProbes(
      () => startProbes(config, log, registry, { deployment: false }),
      () => startGateway({}, registry),
    );
  },
};
