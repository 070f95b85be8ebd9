import { readdirSync, readFileSync } from 'node:fs';
import { isCluster, type Server } from '../src/redis/client.ts';
import { mastersOf } from '../src/redis/masters.ts';
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

/** What the masters of the queue and of L2 say of themselves. One server may be both. */
export async function redisInfos({ redis, cache }: Deployment): Promise<ServerInfo[]> {
  const infos = await infosOf([redis, cache].flatMap(mastersOf));
  return [...new Map(infos.map((info) => [info.text('run_id'), info])).values()];
}

/** Microseconds of a Redis, with those of the processes that have saved it. */
export function redisCpuUs(info: ServerInfo): number {
  const fields = ['used_cpu_user', 'used_cpu_sys', 'used_cpu_user_children', 'used_cpu_sys_children'];
  return fields.reduce((sum, field) => sum + (info.number(field) ?? 0), 0) * 1e6;
}

/** The same of each server of the queue: the masters, then the replicas that a cluster has. */
export async function redisCpuUsByServer({ redis }: Deployment): Promise<Record<string, number>> {
  const masters = await infosOf(mastersOf(redis));
  const replicas = isCluster(redis) ? await infosOf(redis.nodes('slave')) : [];
  const named = [
    ...masters.map((info, i) => [`master_${i + 1}`, redisCpuUs(info)] as const),
    ...replicas.map((info, i) => [`replica_${i + 1}`, redisCpuUs(info)] as const),
  ];
  return Object.fromEntries(named);
}

function infosOf(servers: readonly Server[]): Promise<ServerInfo[]> {
  return Promise.all(servers.map((server) => ServerInfo.of(server)));
}
