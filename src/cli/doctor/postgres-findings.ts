import { messageOf } from '../../errors.ts';
import { matchMerkleKey } from '../../postgres/merkle-key.ts';
import { pendingMigrations } from '../../postgres/migrator.ts';
import { type Pool, postgresFix } from '../../postgres/pool.ts';
import { isThroughPooler } from '../../postgres/pooler.ts';
import {
  drainRights,
  OLDEST_POSTGRES,
  readServerSettings,
  type ServerSettings,
  serverTimeMs,
} from '../../postgres/server.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { latency, roundTrips, skew } from './redis-findings.ts';

const SLOW_MS = 10;

export async function postgresFindings(pool: Pool): Promise<Finding[]> {
  try {
    const settings = await readServerSettings(pool);
    const trips = await roundTrips(() => serverTimeMs(pool));
    return [
      connection(await isThroughPooler(pool)),
      version(settings),
      durability(settings),
      encoding(settings),
      ...(settings.readOnly
        ? [fail('postgres', 'access', 'read-only', 'point DATABASE_URL at the primary')]
        : []),
      await rights(pool),
      await schema(pool),
      latency('postgres', trips, SLOW_MS),
      skew('postgres', trips),
    ];
  } catch (error) {
    return [fail('postgres', 'connection', messageOf(error), postgresFix(error))];
  }
}

function connection(isPooled: boolean): Finding {
  const found = isPooled ? 'through a pooler, which takes statements without names' : 'direct';
  return ok('postgres', 'connection', found);
}

function version({ version, versionNumber }: ServerSettings): Finding {
  return versionNumber >= OLDEST_POSTGRES
    ? ok('postgres', 'version', `Postgres ${version}`)
    : fail('postgres', 'version', `Postgres ${version}`, 'upgrade to Postgres 14 or newer');
}

function durability({ fsync, fullPageWrites, synchronousCommit }: ServerSettings): Finding {
  const found = `fsync ${fsync}, full_page_writes ${fullPageWrites}, synchronous_commit ${synchronousCommit}`;
  if (fsync !== 'on' || fullPageWrites !== 'on') {
    return warn(
      'postgres',
      'durability',
      `${found}: a crash of the machine can corrupt the database`,
      'set fsync and full_page_writes to on, except for throw-away data',
    );
  }
  return synchronousCommit === 'off'
    ? warn(
        'postgres',
        'durability',
        `${found}: a crash can lose the last settled writes`,
        'set synchronous_commit to on for this database',
      )
    : ok('postgres', 'durability', found);
}

function encoding({ encoding }: ServerSettings): Finding {
  return encoding === 'UTF8'
    ? ok('postgres', 'encoding', encoding)
    : fail('postgres', 'encoding', encoding, 'create the database with ENCODING UTF8 TEMPLATE template0');
}

async function rights(pool: Pool): Promise<Finding> {
  const { role, missing, grant } = await drainRights(pool);
  return missing.length === 0
    ? ok('postgres', 'rights', `${role} may read and write`)
    : fail(
        'postgres',
        'rights',
        `${role} lacks ${missing.join(', ')}`,
        `as the owner of the tables: ${grant}`,
      );
}

async function schema(pool: Pool): Promise<Finding> {
  let missing: string[];
  try {
    missing = await pendingMigrations(pool);
  } catch (error) {
    return fail('postgres', 'schema', messageOf(error), postgresFix(error));
  }
  return missing.length === 0
    ? ok('postgres', 'schema', 'up to date')
    : fail('postgres', 'schema', `migrations have not run: ${missing.join(', ')}`, 'run tierline migrate');
}

const KEY_FIX = 'set TIERLINE_MERKLE_KEY to what the drain workers have, or unset it if they have none';

/** Whether the Merkle key of this environment is that of the store. @throws as `matchMerkleKey` */
export async function merkleKeyFindings(pool: Pool, key: string | undefined): Promise<Finding[]> {
  const match = await matchMerkleKey(pool, key);
  if (match === 'unknown') return [ok('postgres', 'Merkle key', 'none yet: the first drain worker sets it')];
  if (match === 'same') return [ok('postgres', 'Merkle key', "the store's")];
  return [
    key === undefined
      ? warn(
          'postgres',
          'Merkle key',
          'the store has one that is not set here: no worker would start',
          KEY_FIX,
        )
      : fail('postgres', 'Merkle key', 'the store was filled with another key', KEY_FIX),
  ];
}
