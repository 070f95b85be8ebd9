import type { Config } from '../config.ts';
import { messageOf, TierUnavailableError } from '../errors.ts';
import { type Logger, serverOf } from '../log.ts';
import { closePool, createPool, type Pool, postgresFix } from '../postgres/pool.ts';
import { checkPostgres } from '../postgres/server.ts';
import { RedisBackend, type RedisConfig } from '../redis/backend.ts';

/** All that one process has in Redis and Postgres. A process that only writes has a `RedisBackend`. */
export class Backends extends RedisBackend {
  readonly #databaseUrl: string;
  readonly #poolSize: number;
  #pool: Pool | undefined;

  constructor(config: RedisConfig & Pick<Config, 'databaseUrl'>, log: Logger, poolSize: number) {
    super(config, log);
    this.#databaseUrl = config.databaseUrl;
    this.#poolSize = poolSize;
  }

  /** Connects when it is first used. */
  get pool(): Pool {
    return (this.#pool ??= createPool(this.#databaseUrl, this.#poolSize, this.log));
  }

  /** @throws TierUnavailableError, UnsafeServerError, SchemaMissingError */
  async postgresReady(): Promise<void> {
    try {
      await checkPostgres(this.pool);
    } catch (error) {
      if (!(error instanceof TierUnavailableError)) throw error;
      const server = `Postgres at ${serverOf(this.#databaseUrl)}`;
      const text = `${server} cannot be used: ${messageOf(error.cause)}; ${postgresFix(error.cause)}`;
      throw new TierUnavailableError('l3', new Error(text, { cause: error.cause }));
    }
  }

  override async close(): Promise<void> {
    await Promise.all([super.close(), this.#pool && closePool(this.#pool)]);
  }
}
