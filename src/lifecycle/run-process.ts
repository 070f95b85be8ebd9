import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';

// Import only types here: anything else is loaded before the process listens to signals.

export interface ServiceModule {
  start(config: Config, log: Logger): Promise<Service>;
}

/** Shares of `shutdownMs`: how long a stop waits for a start that is under way, and when the process ends in any case. */
const START_SHARE = 0.3;
const EXIT_SHARE = 0.95;

/**
 * Runs one service as the whole process. SIGTERM and SIGINT close the service and end the process with 0 within `shutdownMs`,
 * also while its modules are still loading. A failed start or stop ends it with 1. A second signal ends it with 1 at once.
 * @param load imports the service.
 */
export async function runProcess(name: string, load: () => Promise<ServiceModule>): Promise<void> {
  let stopping = false;
  let starting: Promise<Service> | undefined;
  let log: Logger | undefined;
  let shutdownMs = 0;

  async function stop(signal: NodeJS.Signals): Promise<void> {
    if (stopping) process.exit(1);
    stopping = true;
    log?.info({ signal }, 'stopping');
    // A server that does not answer may keep a socket open for ever.
    setTimeout(() => process.exit(0), shutdownMs * EXIT_SHARE).unref();
    try {
      const service = await startedWithin(shutdownMs * START_SHARE, starting);
      await service?.close();
      process.exit(0);
    } catch (error) {
      log?.fatal({ err: error }, 'stop failed');
      process.exit(1);
    }
  }
  process.on('SIGTERM', (signal) => void stop(signal));
  process.on('SIGINT', (signal) => void stop(signal));
  // A parent that was killed can send no signal.
  if (process.connected) process.on('disconnect', () => void (stopping || stop('SIGTERM')));

  const [{ loadConfig }, { createLogger }, { ConfigError }] = await Promise.all([
    import('../config.ts'),
    import('../log.ts'),
    import('../errors.ts'),
  ]);
  try {
    const config = loadConfig();
    log = createLogger(name, config.logLevel);
    ({ shutdownMs } = config);
    const service = await load();
    starting = service.start(config, log);
    await starting;
  } catch (error) {
    if (stopping) return;
    log ??= createLogger(name, 'info');
    // The stack of a wrong setting helps nobody.
    if (error instanceof ConfigError) log.fatal({ code: error.code }, error.message);
    else log.fatal({ err: error }, 'start failed');
    process.exit(1);
  }
}

/** The service, if it starts in time; undefined when there is none to close. */
async function startedWithin(
  ms: number,
  starting: Promise<Service> | undefined,
): Promise<Service | undefined> {
  const { within } = await import('../abortable.ts');
  // An error of the start does not matter any more.
  return (
    starting &&
    within(
      ms,
      starting.catch(() => undefined),
      () => undefined,
    )
  );
}

/** Something that a process runs until it is told to stop. */
interface Service {
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
