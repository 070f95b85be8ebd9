import type { Logger } from '../log.ts';

/** Something a worker process runs until it is told to stop. */
export interface Service {
  close(): Promise<void>;
}

/**
 * Runs one service as the whole process: SIGTERM and SIGINT close it and end the process with 0, a failed start or stop
 * with 1. A second signal ends it at once.
 * @param deadlineMs the longest a stop may take before the process ends anyway.
 */
export async function runService(
  start: () => Promise<Service>,
  log: Logger,
  deadlineMs: number,
): Promise<void> {
  let stopping = false;
  let service: Service | undefined;

  async function stop(signal: NodeJS.Signals): Promise<void> {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'stopping');
    // A backend that is away may hold a socket open for ever: the process ends at its deadline whatever happens.
    setTimeout(() => process.exit(0), deadlineMs).unref();
    try {
      await service?.close();
      process.exit(0);
    } catch (error) {
      log.fatal({ err: error }, 'stop failed');
      process.exit(1);
    }
  }
  process.on('SIGTERM', (signal) => void stop(signal));
  process.on('SIGINT', (signal) => void stop(signal));

  try {
    service = await start();
  } catch (error) {
    log.fatal({ err: error }, 'start failed');
    process.exit(1);
  }
}
