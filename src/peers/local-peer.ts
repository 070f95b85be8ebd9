import { abortableOpen } from '../abortable.ts';
import { CallGate } from '../call-gate.ts';
import { type Config, loadConfig, type OpenOptions } from '../config.ts';
import { WRITES_QUEUE } from '../keys.ts';
import { createLogger, type Logger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { lastEqualAt, noteEqual } from '../postgres/deployment.ts';
import { checkMerkleKey } from '../postgres/merkle-key.ts';
import type { Pool } from '../postgres/pool.ts';
import type { Shard } from '../postgres/shards.ts';
import { MerkleView } from '../read/merkle-view.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { peerRowsOf } from '../schema/peer.ts';
import { Backends } from '../tiers/backends.ts';
import type {
  AcceptedRow,
  LeafItemOptions,
  LeafOptions,
  PeerIdentity,
  PeerRow,
  RepairPeer,
} from '../types/merkle.ts';
import { type IntakeParts, RowIntake } from './row-intake.ts';

const START_TIMEOUT_MS = 2000;

interface LocalPeerParts extends IntakeParts {
  readonly pool: Pool;
  readonly merkle: MerkleView;
  readonly config: Config;
}

/** This deployment as a side of a comparison or repair: the rows from Postgres, and into the queue. */
export class LocalPeer implements RepairPeer {
  readonly #parts: LocalPeerParts;
  readonly #intake: RowIntake;

  constructor(parts: LocalPeerParts) {
    this.#parts = parts;
    this.#intake = new RowIntake(parts);
  }

  async identity(): Promise<PeerIdentity> {
    const { merkle, config } = this.#parts;
    return { ...(await merkle.identity()), purgeAfterMs: config.purgeAfterMs };
  }

  root() {
    return this.#parts.merkle.root();
  }

  leaves(options: LeafOptions) {
    return this.#parts.merkle.leaves(options);
  }

  leafItems(leaves: readonly number[], options?: LeafItemOptions) {
    return this.#parts.merkle.leafItems(leaves, options);
  }

  itemsOf(ids: readonly string[], options?: LeafItemOptions) {
    return this.#parts.merkle.itemsOf(ids, options);
  }

  tombstoneWeeks() {
    return this.#parts.merkle.tombstoneWeeks();
  }

  registers(ids: readonly string[]) {
    return this.#parts.merkle.registers(ids);
  }

  rows(ids: readonly string[]) {
    return this.#parts.merkle.rows(ids);
  }

  lastEqualAt(deployment: string) {
    return lastEqualAt(this.#parts.pool, deployment);
  }

  noteEqual(deployment: string) {
    return noteEqual(this.#parts.pool, deployment);
  }

  /** @throws InvalidItemError, QueueUnavailableError */
  async accept(rows: readonly PeerRow[]): Promise<readonly AcceptedRow[]> {
    return this.#intake.accept(peerRowsOf(rows));
  }
}

export interface OwnPeer extends RepairPeer, AsyncDisposable {
  close(): Promise<void>;
}

/**
 * Opens this deployment as a side of a comparison or repair. Rows that it takes are stored by drain workers, so one must run.
 * @throws ConfigError, QueueUnavailableError, TierUnavailableError, SchemaMissingError, MerkleKeyError, PartitionsError
 */
export function openLocalPeer(options?: OpenOptions): Promise<OwnPeer> {
  return abortableOpen(options, async (overrides) => {
    const config = loadConfig(overrides);
    return connectLocalPeer(config, createLogger('peers', config.logLevel));
  });
}

/**
 * As `openLocalPeer`, for the other parts of Tierline.
 * @internal
 */
export async function connectLocalPeer(config: Config, log: Logger): Promise<OwnPeer> {
  const backends = new Backends(config, log, config.poolSize);
  return backends.opening(async () => {
    // A caller that lets reads wait longer for Redis lets opening wait as long.
    await backends.ready(Math.max(START_TIMEOUT_MS, config.l2TimeoutMs), 'queue');
    await backends.postgresReady();
    const { shards, queue } = backends;
    await shards.each(({ pool }) => checkMerkleKey(pool, config.merkleKey));
    const lanes = await backends.lanes();
    const writes = lanes.keys.map((keys) => openQueue(WRITES_QUEUE, queue, keys, log));
    const gate = new CallGate('store');
    const merkle = new MerkleView(shards, gate, config.merkleKey);
    const digester = new Digester(config.merkleKey);
    // What is noted of peers stands in the first shard.
    const { pool } = shards.all[0] as Shard;
    const peer = new LocalPeer({ pool, queue, writes, lanes, merkle, digester, config });
    let closing: Promise<void> | undefined;
    const stop = async () => {
      gate.close();
      await Promise.all(writes.map((one) => one.close()));
      await backends.close();
    };
    const close = () => (closing ??= stop());
    return Object.assign(peer, { close, [Symbol.asyncDispose]: close });
  });
}

/** Opens this deployment as a peer when it is first needed, and again when that failed. */
export class LazyPeer {
  readonly #config: Config;
  readonly #log: Logger;
  #opening: Promise<OwnPeer> | undefined;

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
  }

  /** @throws as `openLocalPeer` */
  open(): Promise<OwnPeer> {
    this.#opening ??= connectLocalPeer(this.#config, this.#log).catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async close(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    await opened?.close();
  }
}
