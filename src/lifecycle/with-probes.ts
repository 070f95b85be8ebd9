import type { Service } from './service.ts';

/** What tells the outside how a service is; `src/health` has one. */
interface Probes extends Service {
  running(): void;
  stopping(): void;
}

/**
 * A service and its probes as one service. The probes come first and go last: while the service starts and stops they
 * answer that it is not ready, and a probe that cannot start keeps the service from taking work.
 */
export async function startWithProbes(
  startProbes: () => Promise<Probes>,
  startService: () => Promise<Service>,
): Promise<Service> {
  const probes = await startProbes();
  let service: Service;
  try {
    service = await startService();
  } catch (error) {
    await probes.close();
    throw error;
  }
  probes.running();
  return {
    async close() {
      probes.stopping();
      try {
        await service.close();
      } finally {
        await probes.close();
      }
    },
  };
}
