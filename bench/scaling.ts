import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { documents } from './documents.ts';
import { submitAll } from './drain.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';
import { QueuedWrites } from './queued-writes.ts';
import { figure, inRounds } from './rounds.ts';

const ROUNDS = 3;

/** Drain rates of 1, 2 and 4 worker processes, and of 2 with 8 partitions on the same Redis. They share the cores with the servers. */
export async function scalingBench(emit: Emit, { items: count = 60_000 }: BenchOptions): Promise<void> {
  const setups: Setup[] = [];
  const open = async (workers: number, partitions: number) => {
    const setup = await Setup.open(workers, partitions, count);
    setups.push(setup);
    return () => setup.drainMs();
  };
  try {
    const rounds = await inRounds(
      {
        workers_1: await open(1, 1),
        workers_2: await open(2, 1),
        workers_4: await open(4, 1),
        partitions_8: await open(2, 8),
      },
      ROUNDS,
    );
    for (const name of ['workers_1', 'workers_2', 'workers_4', 'partitions_8'] as const) {
      emit(
        `${name}_items_per_s`,
        figure(rounds, (round) => perSecond(count, round[name])),
        'items/s',
      );
    }
    emit(
      'workers_2_vs_1',
      figure(rounds, (round) => round.workers_1 / round.workers_2),
      'ratio',
    );
    emit(
      'workers_4_vs_1',
      figure(rounds, (round) => round.workers_1 / round.workers_4),
      'ratio',
    );
    emit(
      'partitions_8_vs_1',
      figure(rounds, (round) => round.workers_2 / round.partitions_8),
      'ratio',
    );
  } finally {
    for (const setup of setups) await setup.close();
  }
}

/** A deployment with its workers, which wait while others are measured. */
class Setup {
  readonly #deployment: Deployment;
  readonly #queued: QueuedWrites;
  readonly #count: number;
  #round = 0;

  private constructor(deployment: Deployment, queued: QueuedWrites, count: number) {
    this.#deployment = deployment;
    this.#queued = queued;
    this.#count = count;
  }

  static async open(workers: number, partitions: number, count: number): Promise<Setup> {
    const deployment = await createDeployment({ partitions });
    return new Setup(deployment, await QueuedWrites.open(deployment, workers), count);
  }

  /** Milliseconds for new items. */
  drainMs(): Promise<number> {
    const items = documents(this.#count, `round${this.#round++}`);
    // Each partition gets full chunks.
    const perCall = 500 * this.#deployment.lanes.count;
    return this.#queued.drain((producer) => submitAll(producer, items, perCall), timed);
  }

  async close(): Promise<void> {
    await this.#queued.close();
    await this.#deployment.close();
  }
}
