import { openProducer } from '../src/producer/open-producer.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { latencyBesideRange } from './latency-range.ts';
import { latencyOfReads } from './latency-reads.ts';
import { latencyOfWrites } from './latency-writes.ts';
import type { BenchOptions, Emit } from './metric.ts';

/** How long callers wait, with one worker process. `--seconds` is the length of a round, `--items` the rows of the range delete. */
export async function latencyBench(
  emit: Emit,
  { items: rangeRows = 100_000, seconds = 2 }: BenchOptions,
): Promise<void> {
  const deployment = await createDeployment();
  const worker = await startWorker('drain', deployment.env);
  const producer = await openProducer(deployment.options);
  try {
    await latencyOfWrites(emit, deployment, producer, seconds * 1000);
    await latencyOfReads(emit, deployment, producer, 2 * seconds * 1000);
    await latencyBesideRange(emit, producer, rangeRows);
  } finally {
    await producer.close();
    await worker.stop();
    await deployment.close();
  }
}
