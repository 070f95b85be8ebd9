import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { SchemaMissingError } from '../errors.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { pendingMigrations } from '../postgres/migrator.ts';
import { checkPostgres } from '../postgres/server.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import { readBacklog } from '../redis/backlog.ts';
import type { Redis } from '../redis/client.ts';

interface ReadinessSources {
  /** `failFast` connection of the queue. */
  readonly queue: Redis;
  readonly shards: Shards;
  readonly lanes: () => Promise<Lanes>;
  readonly config: Config;
  readonly log: Logger;
}

type CheckName = 'process' | 'redis' | 'postgres' | 'schema' | 'lag';

export interface Check {
  readonly name: CheckName;
  readonly ok: boolean;
  /** What is wrong, for people; names no address, user or payload. */
  readonly detail?: string;
}

interface ReadinessReport {
  readonly ready: boolean;
  readonly checks: readonly Check[];
}

/** For this time all probes share one report about the backends, so that many probes do not load them. */
const FRESH_MS = 500;
/** A backend that takes longer than this counts as away. */
const ANSWER_MS = 2000;

/** Whether this process can do its work now: Redis and Postgres answer, the schema is complete, writes settle in time. */
export class Readiness {
  readonly #sources: ReadinessSources;
  #phase: 'starting' | 'running' | 'stopping' = 'starting';
  #looking: Promise<readonly Check[]> | undefined;

  constructor(sources: ReadinessSources) {
    this.#sources = sources;
  }

  /** Until the process is `running` it is not ready, whatever the backends say. */
  enter(phase: 'running' | 'stopping'): void {
    this.#phase = phase;
  }

  /** Never throws: a backend that cannot be asked is a failed check. */
  async report(): Promise<ReadinessReport> {
    this.#looking ??= this.#look().finally(() => {
      setTimeout(() => (this.#looking = undefined), FRESH_MS).unref();
    });
    const own: Check =
      this.#phase === 'running'
        ? { name: 'process', ok: true }
        : { name: 'process', ok: false, detail: this.#phase };
    const checks = [own, ...(await this.#looking)];
    return { ready: checks.every((check) => check.ok), checks };
  }

  async #look(): Promise<readonly Check[]> {
    const { queue, shards, lanes, config } = this.#sources;
    const [[redis, lag], postgres] = await Promise.all([
      this.#redis(async () => readBacklog(queue, await lanes()), config.readyLagMs),
      this.#allPostgres(shards),
    ]);
    return [redis, ...postgres, lag];
  }

  async #redis(read: () => Promise<{ oldestMs: number }>, limitMs: number): Promise<[Check, Check]> {
    try {
      const { oldestMs } = await within(ANSWER_MS, read());
      const late = oldestMs >= limitMs;
      const detail = `the oldest write has waited ${Math.round(oldestMs)} ms; the limit is ${limitMs} ms`;
      return [{ name: 'redis', ok: true }, late ? failed('lag', detail) : { name: 'lag', ok: true }];
    } catch (error) {
      this.#sources.log.debug({ err: error }, 'readiness: Redis');
      return [failed('redis', 'Redis does not answer'), failed('lag', 'unknown without Redis')];
    }
  }

  /** One check for all shards; what is wrong names them. */
  async #allPostgres({ all, isOne }: Shards): Promise<Check[]> {
    const found = await Promise.all(all.map((shard) => this.#postgres(shard)));
    if (isOne) return found[0] as Check[];
    return (['postgres', 'schema'] as const).map((name) => {
      const details = found.flatMap((checks, i) => {
        const check = checks.find((one) => one.name === name);
        return check === undefined || check.ok ? [] : [`shard ${all[i]?.name}: ${check.detail}`];
      });
      return details.length === 0 ? { name, ok: true } : failed(name, details.join('; '));
    });
  }

  async #postgres({ pool }: Shard): Promise<Check[]> {
    try {
      await within(ANSWER_MS, checkPostgres(pool));
      const missing = await within(ANSWER_MS, pendingMigrations(pool));
      return [
        { name: 'postgres', ok: true },
        missing.length === 0
          ? { name: 'schema', ok: true }
          : failed('schema', `migrations have not run: ${missing.join(', ')}`),
      ];
    } catch (error) {
      this.#sources.log.debug({ err: error }, 'readiness: Postgres');
      if (error instanceof SchemaMissingError) {
        return [{ name: 'postgres', ok: true }, failed('schema', 'the tables are missing')];
      }
      return [failed('postgres', 'Postgres does not answer'), failed('schema', 'unknown without Postgres')];
    }
  }
}

function failed(name: CheckName, detail: string): Check {
  return { name, ok: false, detail };
}
