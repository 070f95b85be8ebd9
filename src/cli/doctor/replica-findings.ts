import type { Config } from '../../config.ts';
import { messageOf } from '../../errors.ts';
import { type Logger, serverOf } from '../../log.ts';
import { closePool, createPool } from '../../postgres/pool.ts';
import { primaryPlace, replicaPlace, type WalPlace } from '../../postgres/replica.ts';
import type { Shard } from '../../postgres/shards.ts';
import { replicaFix, replicaState } from '../../tiers/replica-server.ts';
import { standingAt } from '../../tiers/replay-needs.ts';
import { groupedDigits } from '../table.ts';
import { type Finding, ok, warn } from './finding.ts';

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
