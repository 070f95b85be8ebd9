import type { Config } from '../config.ts';
import { messageOf, PartitionsError, TierUnavailableError } from '../errors.ts';
import { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { postgresFix } from '../postgres/pool.ts';
import { checkPostgres } from '../postgres/server.ts';
import { Shards } from '../postgres/shards.ts';
import { RedisBackend, type RedisConfig } from '../redis/backend.ts';
import { agreedPartitions, areMarked, markPartitions } from '../redis/partitions.ts';
import { shardsOf } from '../shard-list.ts';

const MARK_EVERY_MS = 500;

/** All that one process has in Redis and Postgres. A process that only writes has a `RedisBackend`. */
export class Backends extends RedisBackend {
  /** The Postgres databases. They connect when they are first used. */
  readonly shards: Shards;
  #marking: NodeJS.Timeout | undefined;

  constructor(config: RedisConfig & Pick<Config, 'databaseUrl' | 'shards'>, log: Logger, poolSize: number) {
    super(config, log);
    this.shards = Shards.open(shardsOf(config), poolSize, log);
  }

  /** @throws TierUnavailableError, UnsafeServerError, SchemaMissingError */
  async postgresReady(): Promise<void> {
    await this.shards.each(async (shard) => {
      try {
        await checkPostgres(shard.pool);
      } catch (error) {
        if (!(error instanceof TierUnavailableError)) throw error;
        const text = `Postgres at ${shard.server} cannot be used: ${messageOf(error.cause)}; ${postgresFix(error.cause)}`;
        throw new TierUnavailableError('l3', new Error(text, { cause: error.cause }));
      }
    });
  }

  /** Postgres says how many partitions there are, and Redis is told. */
  protected override async learnLanes(): Promise<Lanes> {
    const { namespace, partitions } = this.config;
    const stored = await this.shards.learn();
    const lanes = new Lanes(namespace, agreedPartitions(partitions, stored.partitions));
    this.log.debug({ partitions: lanes.count }, 'the partitions of the deployment are known');
    await this.#mark(lanes, stored.id);
    if (lanes.count > 1) this.#keepMarked(lanes, stored.id);
    return lanes;
  }

  /** @throws PartitionsError. Any other failure is left to the next time: who needs Redis will meet it. */
  async #mark(lanes: Lanes, deploymentId: string): Promise<void> {
    if (this.queue.status !== 'ready') return;
    try {
      if (!(await areMarked(this.queue, lanes))) await markPartitions(this.queue, lanes, deploymentId);
    } catch (error) {
      if (error instanceof PartitionsError) throw error;
      this.log.debug({ err: error }, 'how many partitions there are could not be written to Redis');
    }
  }

  /** After Redis has lost its data, producers wait for this. */
  #keepMarked(lanes: Lanes, deploymentId: string): void {
    const mark = () =>
      this.#mark(lanes, deploymentId).catch((error: unknown) => {
        clearInterval(this.#marking);
        this.log.error({ err: error }, 'the partitions were changed; stop this process and start it again');
      });
    this.#marking = setInterval(() => void mark(), MARK_EVERY_MS).unref();
  }

  override async close(): Promise<void> {
    clearInterval(this.#marking);
    await Promise.all([super.close(), this.shards.close()]);
  }
}
