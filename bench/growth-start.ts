import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../src/log.ts';
import { connectReader } from '../src/read/open-reader.ts';
import { FilterSource } from '../src/tiers/filter-source.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { type Emit, timed } from './metric.ts';
import { figure, inRounds } from './rounds.ts';

const ROUNDS = 3;

/** From opening a reader until its filter is trusted: from the snapshot that maintenance stores, and from the rows; beside all ids in a Set. */
export async function growthOfStart(emit: Emit, deployment: Deployment, at: string): Promise<void> {
  const { config, pool, shards, redis, lanes, log } = deployment;
  const filter = new FilterSource(shards, redis, lanes, 0, log);
  const ms = await inRounds(
    {
      reader_start: async () => {
        await filter.refresh(config.filterMaxBytes);
        return startMs(deployment);
      },
      reader_start_from_rows: async () => {
        await pool.query('DELETE FROM filter_snapshots');
        return startMs(deployment);
      },
      plain_ids: () =>
        timed(async () => {
          const { rows } = await pool.query<[string]>({
            rowMode: 'array',
            text: 'SELECT id FROM items WHERE NOT deleted',
          });
          return new Set(rows.map(([id]) => id));
        }),
    },
    ROUNDS,
  );
  for (const name of ['reader_start', 'reader_start_from_rows', 'plain_ids'] as const) {
    emit(
      `${name}_ms_${at}`,
      figure(ms, (round) => round[name]),
      'ms',
    );
  }
}

async function startMs({ config }: Deployment): Promise<number> {
  const started = performance.now();
  const reader = await connectReader(config, createLogger('bench', 'silent'));
  while (!reader.counters.filter.trusted) await sleep(1);
  const ms = performance.now() - started;
  await reader.close();
  return ms;
}
