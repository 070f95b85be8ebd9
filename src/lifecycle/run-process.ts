// Hardly more than types: whatever is imported here is loaded before the first signal can be heard.
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { Service } from './service.ts';

export interface ServiceModule {
  start(config: Config, log: Logger): Promise<Service>;
}

/** Shares of `shutdownMs`: how long a stop waits for a start that is under way, and when the process ends whatever hangs. */
const START_SHARE = 0.3;
const EXIT_SHARE = 0.95;

/**
 * Runs one service as the whole process. SIGTERM and SIGINT are heard before its modules are loaded; they close it and end
 * the process with 0 within `shutdownMs`. A failed start or stop ends it with 1, and so does a second signal, at once.
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
    // A backend that is away may hold a socket open for ever.
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
    // Where a wrong setting was found is of no use to whoever set it.
    if (error instanceof ConfigError) log.fatal({ code: error.code }, error.message);
    else log.fatal({ err: error }, 'start failed');
    process.exit(1);
  }
}

/** The service, if it starts in time; undefined when there is none to close. */
function startedWithin(
  ms: number,
  starting: Promise<Service> | undefined,
): Promise<Service | undefined> | undefined {
  // What keeps it from starting does not matter any more.
  return (
    starting &&
    within(
      ms,
      starting.catch(() => undefined),
      () => undefined,
    )
  );
}
