import { Command, type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';
import { CallGate } from '../call-gate.ts';
import { type Config, loadConfig } from '../config.ts';
import { messageOf, TierlineError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import { createLogger, type Logger, withoutCredentials } from '../log.ts';
import type { OwnPeer } from '../peers/local-peer.ts';
import type { Shards } from '../postgres/shards.ts';
import { printable } from '../printable.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { MerkleView } from '../read/merkle-view.ts';
import { connectReader } from '../read/open-reader.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Redis } from '../redis/client.ts';
import type { FeedListener } from '../redis/feed.ts';
import { Backends } from '../tiers/backends.ts';
import type { CopyStore } from '../tiers/tier.ts';
import type { Merkle } from '../types/merkle.ts';
import { Terminal } from './terminal.ts';

const REDIS_TIMEOUT_MS = 2000;
const MIN_ENQUEUE_TIMEOUT_MS = 5000;

export interface Copies {
  readonly cache: Redis;
  readonly items: CopyStore;
}

/** The connections of a command. Each is opened when it is first asked for; all are closed together. */
export class Connections {
  readonly config: Config;
  readonly log: Logger;
  readonly #backends: Backends;
  readonly #closers: (() => Promise<void>)[] = [];
  #producer: Promise<QueueProducer> | undefined;
  #reader: Promise<TieredReader> | undefined;

  constructor(config: Config, log: Logger) {
    this.config = config;
    this.log = log;
    this.#backends = new Backends(config, log, 2);
    this.onClose(() => this.#backends.close());
  }

  /** Keys of what is there once for the deployment. */
  get keys(): Keys {
    return this.#backends.keys;
  }

  /** @throws QueueUnavailableError, TierUnavailableError, SchemaMissingError, PartitionsError */
  async lanes(): Promise<Lanes> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.lanes();
  }

  /** As Redis knows them. @throws as `lanes` */
  async lanesForFigures(): Promise<Lanes> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.lanesForFigures();
  }

  /** @throws as `openProducer` */
  producer(): Promise<QueueProducer> {
    // A load of millions of lines must survive a short outage of Redis, and no request waits for it.
    const enqueueTimeoutMs = Math.max(this.config.enqueueTimeoutMs, MIN_ENQUEUE_TIMEOUT_MS);
    this.#producer ??= this.#closing(
      // BullMQ takes a third of the start-up time, so it is loaded only for commands that write.
      import('../producer/open-producer.ts').then(({ connectProducer }) =>
        connectProducer({ ...this.config, enqueueTimeoutMs }, this.log),
      ),
    );
    return this.#producer;
  }

  /** The Merkle tables; needs Postgres alone. */
  merkle(): Merkle {
    return new MerkleView(this.shards, new CallGate('reader'), this.config.merkleKey);
  }

  /** A reader that asks Postgres while Redis is away. @throws as `openReader` */
  reader(): Promise<TieredReader> {
    // A command reads each id once, so L1 and the filter would not help.
    const config = { ...this.config, l1MaxBytes: 0, filterMaxBytes: 0 };
    return (this.#reader ??= this.#closing(connectReader(config, this.log, { needsRedis: false })));
  }

  /** The queue's Redis: commands fail at once while it is away. @throws QueueUnavailableError */
  async redis(): Promise<Redis> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.queue;
  }

  /** The L2 copies. @throws QueueUnavailableError, TierUnavailableError */
  async copies(): Promise<Copies> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue', 'cache');
    return this.#backends;
  }

  /** Starts the feeds of all partitions: the listener hears what settles from now on. @throws QueueUnavailableError */
  async followFeeds(listener: FeedListener): Promise<void> {
    for (const feed of this.#backends.feeds(await this.lanesForFigures())) feed.listen(listener);
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'feeds');
  }

  get shards(): Shards {
    return this.#backends.shards;
  }

  /** This deployment as a side of a repair. @throws as `openLocalPeer` */
  localPeer(): Promise<OwnPeer> {
    return this.#closing(
      import('../peers/local-peer.ts').then(({ connectLocalPeer }) =>
        connectLocalPeer(this.config, this.log),
      ),
    );
  }

  /** Adds something that `close` closes too. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#closers.map((close) => close()));
  }

  async #closing<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
    const opened = await opening;
    this.onClose(() => opened.close());
    return opened;
  }
}

/** How every command ends. */
export const EXIT = {
  ok: 0,
  /** Something failed: a broken line, an item that is missing, a backend that is away. */
  failed: 1,
  /** The command line could not be understood; nothing was done. */
  usage: 2,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The options of a command do not fit together. */
export class UsageError extends Error {}

export interface Context {
  readonly terminal: Terminal;
  readonly connections: Connections;
  /** `--json` was given: print JSON, one value a line. */
  readonly json: boolean;
}

/** A command with the options that most commands have. */
export function command(name: string, summary: string) {
  return new Command(name)
    .description(summary)
    .option('--json', 'print JSON, one value a line')
    .option('--verbose', "write the library's log to standard error, at TIERLINE_LOG_LEVEL");
}

/** @param lines command lines, each with what it does */
export function examples(...lines: readonly (readonly [line: string, effect: string])[]): string {
  return ['', 'Examples:', ...lines.flatMap(([line, effect]) => [`  # ${effect}`, `  ${line}`])].join('\n');
}

/**
 * The action of a command: opens what `run` asks for, closes it, and sets the exit code. `run` may throw UsageError and the
 * library's errors.
 */
export function action<Args extends unknown[]>(
  run: (context: Context, ...args: Args) => Promise<ExitCode>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    const [options, self] = args.slice(-2) as [{ json?: true; verbose?: true }, CommandUnknownOpts];
    const terminal = new Terminal(process.stdout, process.stderr);
    try {
      const config = loadConfig();
      const log = createLogger('cli', options.verbose ? config.logLevel : 'silent', process.stderr);
      const connections = new Connections(config, log);
      try {
        process.exitCode = await run({ terminal, connections, json: options.json === true }, ...args);
      } finally {
        await connections.close();
      }
    } catch (error) {
      if (error instanceof UsageError) self.error(`error: ${error.message}`);
      const code = error instanceof TierlineError ? ` (${error.code})` : '';
      terminal.complain(`tierline: ${printable(withoutCredentials(messageOf(error)))}${code}`);
      process.exitCode = EXIT.failed;
    }
  };
}

/** Reads a whole number from `minimum`. */
export function wholeNumber(minimum: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < minimum) {
      throw new InvalidArgumentError(`It takes a whole number from ${minimum}.`);
    }
    return number;
  };
}

/** Reads seconds as milliseconds. */
export function seconds(value: string): number {
  const number = Number(value);
  // Timers of Node end at 2^31 ms.
  if (value.trim() === '' || !(number > 0 && number <= 2_000_000)) {
    throw new InvalidArgumentError('It takes seconds above 0 and up to 2,000,000.');
  }
  return number * 1000;
}

/** The commands below this one that do something: `merkle root`, but not `merkle`. */
export function leavesOf(parent: CommandUnknownOpts): CommandUnknownOpts[] {
  return parent.commands.flatMap((child) => (child.commands.length > 0 ? leavesOf(child) : [child]));
}

/** As typed after `tierline`: `put`, `merkle root`. */
export function pathOf(self: CommandUnknownOpts): string {
  const above = self.parent?.parent ? `${pathOf(self.parent)} ` : '';
  return above + self.name();
}
