import type { Pool } from '../src/postgres/pool.ts';
import type { ServerInfo } from '../src/redis/server-info.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { cpuUs, postgresCpuUs, redisCpuUs, redisInfos } from './cpu.ts';
import { type Emit, timed } from './metric.ts';
import { figure } from './rounds.ts';

/** What a piece of work takes, by the names of the metrics. Other work on the same servers counts, too. */
const UNITS = {
  worker_cpu_us: 'us/item',
  redis_cpu_us: 'us/item',
  postgres_cpu_us: 'us/item',
  /** This process. */
  client_cpu_us: 'us/item',
  /** Also those that scripts call. */
  redis_commands: 'commands/item',
  /** Those that write. One that only reads takes no transaction id. */
  postgres_transactions: 'transactions/item',
  wal_bytes: 'bytes/item',
};
type Kind = keyof typeof UNITS;

export interface Usage {
  readonly ms: number;
  readonly spent: Readonly<Record<Kind, number>>;
}

/** Runs `work` and returns what it took. */
export async function usageOf(
  deployment: Deployment,
  workerPids: readonly number[],
  work: () => unknown,
): Promise<Usage> {
  const before = await usedSoFar(deployment, workerPids);
  const ms = await timed(work);
  const spent = await usedSoFar(deployment, workerPids);
  for (const kind of Object.keys(UNITS) as Kind[]) spent[kind] -= before[kind];
  return { ms, spent };
}

/** Prints the median of each kind for one of `count` items. */
export function emitUsage(
  emit: Emit,
  usages: readonly Usage[],
  count: number,
  { prefix = '', kinds = Object.keys(UNITS) as Kind[] }: { prefix?: string; kinds?: readonly Kind[] } = {},
): void {
  for (const kind of kinds) {
    emit(
      `${prefix}${kind}`,
      figure(usages, ({ spent }) => spent[kind] / count),
      UNITS[kind],
    );
  }
}

/** Bytes of write-ahead log so far, of the whole server. */
export async function writtenLog(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ bytes: number }>(
    `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS bytes`,
  );
  return rows[0]?.bytes ?? 0;
}

async function usedSoFar(
  deployment: Deployment,
  workerPids: readonly number[],
): Promise<Record<Kind, number>> {
  const infos = await redisInfos(deployment);
  const ofRedis = (valueOf: (info: ServerInfo) => number) =>
    infos.reduce((sum, info) => sum + valueOf(info), 0);
  const { user, system } = process.cpuUsage();
  return {
    worker_cpu_us: workerPids.reduce((sum, pid) => sum + cpuUs(pid), 0),
    redis_cpu_us: ofRedis(redisCpuUs),
    postgres_cpu_us: await postgresCpuUs(deployment),
    client_cpu_us: user + system,
    redis_commands: ofRedis((info) => info.number('total_commands_processed') ?? 0),
    postgres_transactions: await writingTransactions(deployment.pool),
    wal_bytes: await writtenLog(deployment.pool),
  };
}

async function writingTransactions(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ next: number }>(
    'SELECT pg_snapshot_xmax(pg_current_snapshot())::text::float8 AS next',
  );
  return rows[0]?.next ?? 0;
}
