import { loadConfig } from '../src/config.ts';
import { runService } from '../src/lifecycle/run-service.ts';
import { createLogger } from '../src/log.ts';
import { startMaintenance } from '../src/maintenance/start-maintenance.ts';

const config = loadConfig();
await runService(startMaintenance, createLogger('maintenance', config.logLevel), config.shutdownMs);
