/** Something that a process runs until it is told to stop. */
export interface Service {
  close(): Promise<void>;
}

/** Tells others whether a service is ready; `src/health` has one. */
interface Probes extends Service {
  running(): void;
  stopping(): void;
}

/**
 * A service and its probes as one service. The probes start first and stop last, so that they say "not ready" while the
 * service starts and stops. When the probes cannot start, the service takes no work.
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
