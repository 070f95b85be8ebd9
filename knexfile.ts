import { loadConfig } from './src/config.ts';
import { knexConfig } from './src/postgres/migrator.ts';

/** For knex's own command line. `tierline migrate` uses the same configuration. */
export default knexConfig(loadConfig().databaseUrl);
