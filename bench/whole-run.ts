import { execFile, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { loadConfig } from '../src/config.ts';
import { createLogger } from '../src/log.ts';
import { closePool, createPool } from '../src/postgres/pool.ts';
import { closeRedis } from '../src/redis/connect.ts';
import { createRedis } from '../src/redis/driver.ts';
import { masterOf } from '../src/redis/masters.ts';
import { ServerInfo } from '../src/redis/server-info.ts';
import type { Metric } from './metric.ts';
import { type Machine, RESULTS, type Results } from './results.ts';

/** What would take minutes is smaller in a whole run. Give the bench by its name for its full size. */
const SHORTER: Readonly<Record<string, readonly string[]>> = {
  flood: ['--seconds', '24'],
};

/**
 * Runs every bench in a process of its own, so that none finds the memory and the compiled code of another, and writes down the
 * results. One that fails does not end the others.
 * @returns whether all succeeded
 */
export async function wholeRun(names: readonly string[], print: (metric: Metric) => void): Promise<boolean> {
  const machine = await thisMachine();
  const metrics: Metric[] = [];
  const benches: Results['benches'][number][] = [];
  for (const name of names) {
    const options = SHORTER[name] ?? [];
    const started = performance.now();
    const ok = await runAlone([name, ...options], (metric) => {
      metrics.push(metric);
      print(metric);
    });
    benches.push({
      name,
      options: options.join(' '),
      seconds: Math.round((performance.now() - started) / 1000),
      ok,
    });
  }
  const results: Results = { date: new Date().toISOString().slice(0, 10), machine, benches, metrics };
  await mkdir(new URL('.', RESULTS), { recursive: true });
  await writeFile(RESULTS, `${JSON.stringify(results, null, 1)}\n`);
  // Draws the pictures and tables from the results.
  await promisify(execFile)('npm', ['run', '--silent', 'docs']);
  return benches.every(({ ok }) => ok);
}

/** Runs this program with the name of one bench. */
async function runAlone(args: readonly string[], onMetric: (metric: Metric) => void): Promise<boolean> {
  const program = [...process.execArgv, process.argv[1] as string, ...args, '--json'];
  const child = spawn(process.execPath, program, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<boolean>((resolve) => child.on('close', (code) => resolve(code === 0)));
  for await (const line of createInterface(child.stdout)) onMetric(JSON.parse(line) as Metric);
  return ended;
}

async function thisMachine(): Promise<Machine> {
  const { redisUrl, databaseUrl } = loadConfig();
  const log = createLogger('bench', 'silent');
  const redis = createRedis(redisUrl, 'patient', log);
  const pool = createPool(databaseUrl, 1, log);
  try {
    await redis.connect();
    const { rows } = await pool.query<{ server_version: string }>('SHOW server_version');
    return {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGib: Math.round(totalmem() / 2 ** 30),
      node: process.version,
      redis: (await ServerInfo.of(masterOf(redis, ''), 'server')).product,
      postgres: `Postgres ${rows[0]?.server_version.split(' ')[0]}`,
    };
  } finally {
    await closeRedis(redis);
    await closePool(pool);
  }
}
