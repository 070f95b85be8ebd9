import { TierUnavailableError } from '../../errors.ts';
import { sqlState } from '../../postgres/pool.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';

export const migrate: Command = {
  name: 'migrate',
  summary: 'Create or update the tables in Postgres',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {},
  examples: [['@ migrate', 'twice, or from two machines at once, is harmless']],
  async run({ terminal, connections, json }) {
    const migrator = await import('../../postgres/migrator.ts');
    const ran = await migrator.migrate(connections.config.databaseUrl).catch((error: unknown) => {
      throw sqlState(error) === undefined ? new TierUnavailableError('l3', error) : error;
    });
    if (json) await terminal.print(JSON.stringify({ ran }));
    else await terminal.print(ran.length === 0 ? 'the schema is up to date' : `ran ${ran.join(', ')}`);
    return EXIT.ok;
  },
};
