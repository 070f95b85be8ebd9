import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { CITY_COUNT, cityWrites } from '../demo/cities.ts';
import { startCommand } from '../test/helpers/command-line.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { residentMb } from './cpu.ts';
import { type BenchOptions, type Emit, perSecond } from './metric.ts';

const WORKERS = 2;
const RSS_EVERY_MS = 100;

const summarySchema = z.object({ settled: z.int(), ms: z.number() });

/** `tierline put` of a file of cities, with two drain workers: settled items a second, and the memory it took. */
export async function putBench(emit: Emit, { items: count = CITY_COUNT }: BenchOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tierline-put-'));
  const file = join(folder, 'cities.ndjson');
  const { first } = await cityWrites(count);
  await writeFile(
    file,
    first.map((item) => `${JSON.stringify(item)}\n`),
  );
  const deployment = await createDeployment();
  const workers = await Promise.all(
    Array.from({ length: WORKERS }, () => startWorker('drain', deployment.env)),
  );
  try {
    const command = startCommand(deployment.env, ['put', '--json', file]);
    let rssMb = 0;
    const watch = setInterval(() => {
      rssMb = Math.max(rssMb, residentOrNoneMb(command.pid));
    }, RSS_EVERY_MS);
    const { code, stdout, stderr } = await command.finished;
    clearInterval(watch);
    if (code !== 0) throw new Error(`tierline put ended with ${code}: ${stderr}`);
    const { settled, ms } = summarySchema.parse(JSON.parse(stdout));
    emit('items', settled, 'items');
    emit('items_per_s', perSecond(settled, ms), 'items/s');
    emit('cli_rss_mb', rssMb, 'MB');
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await deployment.close();
    await rm(folder, { recursive: true });
  }
}

/** 0 once the process has ended. */
function residentOrNoneMb(pid: number): number {
  try {
    return residentMb(pid);
  } catch {
    return 0;
  }
}
