import { loadConfig } from '../src/config.ts';
import { TierlineError } from '../src/errors.ts';
import { createLogger } from '../src/log.ts';
import { migrateShards } from '../src/postgres/migrate-shards.ts';
import { migrate } from '../src/postgres/migrator.ts';

let log = createLogger('migrate', 'info');
try {
  const config = loadConfig();
  log = createLogger('migrate', config.logLevel);
  if (config.shards.length === 0) report(await migrate(config.databaseUrl, config.partitions));
  else for (const [shard, ran] of await migrateShards(config.shards, config.partitions)) report(ran, shard);
} catch (error) {
  if (error instanceof TierlineError) log.fatal({ code: error.code }, error.message);
  else log.fatal({ err: error }, 'migration failed');
  process.exitCode = 1;
}

function report(ran: readonly string[], shard?: string): void {
  log.info({ shard, migrations: ran }, ran.length === 0 ? 'schema is up to date' : 'schema migrated');
}
