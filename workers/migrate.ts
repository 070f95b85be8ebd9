import { loadConfig } from '../src/config.ts';
import { TierlineError } from '../src/errors.ts';
import { createLogger } from '../src/log.ts';
import { migrate } from '../src/postgres/migrator.ts';

let log = createLogger('migrate', 'info');
try {
  const config = loadConfig();
  log = createLogger('migrate', config.logLevel);
  const ran = await migrate(config.databaseUrl, config.partitions);
  log.info({ migrations: ran }, ran.length === 0 ? 'schema is up to date' : 'schema migrated');
} catch (error) {
  if (error instanceof TierlineError) log.fatal({ code: error.code }, error.message);
  else log.fatal({ err: error }, 'migration failed');
  process.exitCode = 1;
}
