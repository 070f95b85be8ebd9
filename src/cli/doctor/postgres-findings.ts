import type { Config } from '../../config.ts';
import { messageOf } from '../../errors.ts';
import { type Logger, serverOf } from '../../log.ts';
import { matchMerkleKey } from '../../postgres/merkle-key.ts';
import { pendingMigrations } from '../../postgres/migrator.ts';
import { closePool, createPool, isThroughPooler, type Pool, postgresFix } from '../../postgres/pool.ts';
import { primaryPlace, replicaPlace, type WalPlace } from '../../postgres/replica.ts';
import {
  drainRights,
  OLDEST_POSTGRES,
  readServerSettings,
  type ServerSettings,
  serverTimeMs,
} from '../../postgres/server.ts';
import type { Shard } from '../../postgres/shards.ts';
import { standingAt } from '../../tiers/replay-needs.ts';
import { replicaFix, replicaState } from '../../tiers/replica-server.ts';
import { groupedDigits } from '../terminal.ts';
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

const TIMEOUT_MS = 2000;
/** From here on it is not only behind for a moment. */
const LAG_BYTES = 16 * 1024 * 1024;

/** Whether reads can use each replica. One that they cannot use is a warning, because the primary answers instead. */
export async function replicaFindings(
  { name, pool: primary }: Shard,
  isOnly: boolean,
  config: Config,
  log: Logger,
): Promise<Finding[]> {
  const replicas = config.replicas.filter(({ shard }) => isOnly || shard === name);
  if (replicas.length === 0) return [];
  // When the primary does not answer, its own findings say so.
  const place = await primaryPlace(primary, TIMEOUT_MS).catch(() => undefined);
  return Promise.all(replicas.map(({ url }) => replicaFinding(url, place, log)));
}

async function replicaFinding(url: string, primary: WalPlace | undefined, log: Logger): Promise<Finding> {
  const about = `replica ${serverOf(url)}`;
  const pool = createPool(url, 1, log);
  try {
    const place = await replicaPlace(pool, TIMEOUT_MS);
    const state = replicaState(place, primary === undefined ? 'unknown' : standingAt(place, primary));
    if (state !== 'used' && state !== 'behind') return warn('postgres', about, state, replicaFix(state));
    const lag = primary === undefined || place.lsn > primary.lsn ? 0 : Number(primary.lsn - place.lsn);
    const found = `${groupedDigits(lag)} bytes behind the primary`;
    return lag < LAG_BYTES
      ? ok('postgres', about, found)
      : warn(
          'postgres',
          about,
          found,
          'look at its replay: a long query on it, a slow disk, or replay that is paused',
        );
  } catch (error) {
    return warn('postgres', about, messageOf(error), replicaFix('away'));
  } finally {
    await closePool(pool);
  }
}
