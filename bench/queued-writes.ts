import { Queue } from 'bullmq';
import { WRITES_QUEUE } from '../src/keys.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import type { IoRedis } from '../src/redis/driver.ts';
import { closeRedis } from '../src/redis/connect.ts';
import { createRedis } from '../src/redis/driver.ts';
import type { Producer } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { startWorker, type WorkerProcess } from '../test/helpers/worker-process.ts';
import type { Measure } from './metric.ts';

/** Workers that find writes waiting in the queue: what is measured is the drain, not how fast a producer submits. */
export class QueuedWrites {
  readonly #producer: Producer;
  readonly #workers: readonly WorkerProcess[];
  readonly #queues: readonly Queue[];
  readonly #connection: IoRedis;

  private constructor(
    producer: Producer,
    workers: readonly WorkerProcess[],
    queues: readonly Queue[],
    connection: IoRedis,
  ) {
    this.#producer = producer;
    this.#workers = workers;
    this.#queues = queues;
    this.#connection = connection;
  }

  static async open(
    { config, options, env, lanes, log }: Deployment,
    workerCount = 2,
  ): Promise<QueuedWrites> {
    const connection = createRedis(config.redisUrl, 'patient', log);
    const queues = lanes.keys.map(
      ({ queuePrefix: prefix }) => new Queue(WRITES_QUEUE, { connection, prefix }),
    );
    const workers = await Promise.all(Array.from({ length: workerCount }, () => startWorker('drain', env)));
    return new QueuedWrites(await openProducer(options), workers, queues, connection);
  }

  get workerPids(): number[] {
    return this.#workers.map(({ child }) => child.pid as number);
  }

  /** Measures from the release of the queue until all that `submit` has submitted has settled. */
  async drain<T>(submit: (producer: Producer) => Promise<unknown>, measure: Measure<T>): Promise<T> {
    await Promise.all(this.#queues.map((queue) => queue.pause()));
    await submit(this.#producer);
    return measure(async () => {
      await Promise.all(this.#queues.map((queue) => queue.resume()));
      await this.#producer.flush();
    });
  }

  async close(): Promise<void> {
    await this.#producer.close();
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await Promise.all(this.#queues.map((queue) => queue.close()));
    await closeRedis(this.#connection);
  }
}
