import { loadConfig } from '../src/config.ts';
import { createLogger } from '../src/log.ts';
import { migrate } from '../src/postgres/migrator.ts';

const config = loadConfig();
const log = createLogger('migrate', config.logLevel);

try {
  const ran = await migrate(config.databaseUrl);
  log.info({ migrations: ran }, ran.length === 0 ? 'schema is up to date' : 'schema migrated');
} catch (error) {
  log.fatal({ err: error }, 'migration failed');
  process.exitCode = 1;
}
