import { openProducer } from '../src/producer/open-producer.ts';
import { textArray } from '../src/postgres/arrays.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { documents } from './documents.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';

const BATCH = 1000;

const STATES = 3000;
const RANGES = 100;
const ROUNDS = 3;

/** A range delete through all tiers against plain UPDATEs of the same rows, one after the other, in Postgres alone. */
export async function rangesBench(emit: Emit, { items: count = 100_000 }: BenchOptions): Promise<void> {
  const items = documents(count);
  const deployment = await createDeployment();
  const workers = await Promise.all([
    startWorker('drain', deployment.env),
    startWorker('drain', deployment.env),
  ]);
  const producer = await openProducer(deployment.options);
  try {
    for (let at = 0; at < count; at += 500) await producer.submitMany(items.slice(at, at + 500));
    await producer.flush();
    const plain = perSecond(count, await plainUpdateMs(deployment, items));
    emit('plain_update_rows_per_s', plain, 'rows/s');

    const ms = await timed(async () => {
      const { deleted } = await (await producer.deletePrefix('doc.')).settled();
      if (deleted !== count) throw new Error(`deleted ${deleted} of ${count}`);
    });
    emit('rows_per_s', perSecond(count, ms), 'rows/s');
    emit('ratio_vs_plain_update', perSecond(count, ms) / plain, 'ratio');
    await waitingBench(emit, deployment);
  } finally {
    await producer.close();
    await Promise.all(workers.map((worker) => worker.stop()));
    await deployment.close();
  }
}

/** Chunks of one setState each, alone and with range deletes of nothing between them; and such range deletes alone. */
async function waitingBench(emit: Emit, { options }: Deployment): Promise<void> {
  const producer = await openProducer({ ...options, chunkMaxItems: 1 });
  try {
    const ids = Array.from({ length: STATES }, (_, i) => `state.${i}`);
    await producer.submitMany(ids.map((id) => ({ id, content: id })));
    await producer.flush();

    const settling = (every: number) =>
      timed(async () => {
        const calls = ids.flatMap((id, i) => [
          producer.setState(id, `s${every}`),
          ...(i % every === every - 1
            ? [producer.deletePrefix(`nothing.${i}.`), producer.deleteByState(`nothing ${i}`)]
            : []),
        ]);
        await Promise.all(calls);
        await producer.flush();
      });
    await settling(STATES + 1);
    // In turns, and all rounds counted: other work on the machine then falls on both.
    let [alone, mixed] = [0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      alone += await settling(STATES + 2);
      mixed += await settling(STATES / RANGES);
    }
    emit('set_states_per_s', perSecond(ROUNDS * STATES, alone), 'chunks/s');
    emit('mixed_ratio', alone / mixed, 'ratio');

    const ranges = await timed(async () => {
      await Promise.all(Array.from({ length: RANGES }, (_, i) => producer.deletePrefix(`nothing.${i}.`)));
      await producer.flush();
    });
    emit('ranges_per_s', perSecond(RANGES, ranges), 'ranges/s');
  } finally {
    await producer.close();
  }
}

async function plainUpdateMs({ pool }: Deployment, items: readonly NewItem[]): Promise<number> {
  await pool.query(
    'CREATE TABLE plain_items (LIKE items INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 85)',
  );
  await pool.query('INSERT INTO plain_items SELECT * FROM items');
  const ids = items.map((item) => item.id);
  try {
    return await timed(async () => {
      for (let at = 0; at < ids.length; at += BATCH) {
        await pool.query({
          name: 'plain-update',
          text: `UPDATE plain_items SET deleted = true, content = NULL, content_hash = NULL, tombstone_week = 1,
                   content_version = content_version + 1, updated_at = now() WHERE id = ANY($1::text[])`,
          values: [textArray(ids.slice(at, at + BATCH))],
        });
      }
    });
  } finally {
    await pool.query('DROP TABLE plain_items');
  }
}
