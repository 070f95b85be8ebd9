import { readdirSync, readFileSync } from 'node:fs';
import type { Server } from '../src/redis/connect.ts';
import { isCluster, mastersOf } from '../src/redis/masters.ts';
import { ServerInfo } from '../src/redis/server-info.ts';
import type { Deployment } from '../test/helpers/deployment.ts';

/** Linux counts the time of a process in hundredths of a second. */
const TICK_US = 10_000;

/** Microseconds of processor time that a process has used, in user and kernel mode, with that of its ended children. */
export function cpuUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program stands in parentheses and may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).map(Number);
  return ticks.reduce((sum, n) => sum + n, 0) * TICK_US;
}

/** Memory of a process that is not swapped out. @throws when the process has ended */
export function residentMb(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes ?? 0) / 1024);
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

/** Microseconds of Postgres with all its processes: a connection is a process of its own. */
export async function postgresCpuUs({ pool }: Deployment): Promise<number> {
  const { rows } = await pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const postmaster = parentOf((rows[0] as { pid: number }).pid);
  let total = cpuUs(postmaster);
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      if (parentOf(pid) === postmaster) total += cpuUs(pid);
    } catch {
      // The process has just ended; its time is its parent's now.
    }
  }
  return total;
}

/** Microseconds of the Redis of the queue and of that of L2, of a cluster the masters, with those of the processes that save them. */
export async function redisCpuUs({ redis, cache }: Deployment): Promise<number> {
  const pids = new Set(await pidsOf([redis, cache].flatMap(mastersOf)));
  return [...pids].reduce((sum, pid) => sum + cpuUs(pid), 0);
}

/** The same of each server of the queue: the masters, then the replicas that a cluster has. */
export async function redisCpuUsByServer({ redis }: Deployment): Promise<Record<string, number>> {
  const masters = await pidsOf(mastersOf(redis));
  const replicas = isCluster(redis) ? await pidsOf(redis.nodes('slave')) : [];
  const named = [
    ...masters.map((pid, i) => [`master_${i + 1}`, cpuUs(pid)] as const),
    ...replicas.map((pid, i) => [`replica_${i + 1}`, cpuUs(pid)] as const),
  ];
  return Object.fromEntries(named);
}

async function pidsOf(servers: readonly Server[]): Promise<number[]> {
  const infos = await Promise.all(servers.map((server) => ServerInfo.of(server, 'server')));
  return infos.map((info) => info.number('process_id') ?? 0);
}
