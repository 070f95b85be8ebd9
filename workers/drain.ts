import { loadConfig } from '../src/config.ts';
import { startDrain } from '../src/drain/start-drain.ts';
import { runService } from '../src/lifecycle/run-service.ts';
import { createLogger } from '../src/log.ts';

const config = loadConfig();
await runService(startDrain, createLogger('drain', config.logLevel), config.shutdownMs);
