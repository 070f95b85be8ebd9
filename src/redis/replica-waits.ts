import { type Deadline, within } from '../abortable.ts';
import { UnsafeServerError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { isCluster, type Redis, type Server } from './client.ts';
import { masterOf, mastersOf } from './masters.ts';
import { ServerInfo } from './server-info.ts';

/** Longest WAIT. The server reads nothing else from a connection meanwhile. */
const WAIT_MS = 500;

/** Fewer replicas than asked for have what was written. */
export class ReplicasBehind extends Error {
  constructor(wanted: number, found: number) {
    super(
      `${found} of the ${wanted} replicas that TIERLINE_ENQUEUE_REPLICAS asks for have what Redis was given`,
    );
  }
}

/**
 * Waits until enough replicas have what one connection has written.
 *
 * WAIT speaks of the writes of its own connection, so it must go over the one that wrote, and not over the one that took its place
 * after a cut: that one has written nothing, and may lead to a replica that was promoted without the write. All who ask while one
 * WAIT is under way share the next.
 */
export class ReplicaWaits {
  readonly #redis: Redis;
  readonly #key: string;
  /** The connection of this session: on a cluster that to the master of the key. */
  #server: Server | undefined;
  readonly #count: number;
  #cuts = 0;
  #found = 0;
  #isBehind = false;
  #current: Promise<unknown> = Promise.resolve();
  #next: Promise<number> | undefined;

  /**
   * @param key lies in the slot of what is written
   * @param count replicas that must have each write, 1 or more
   */
  constructor(redis: Redis, key: string, count: number) {
    this.#redis = redis;
    this.#key = key;
    this.#count = count;
    redis.on('close', () => this.#cuts++);
  }

  /** Whether too few replicas had the writes when they were last asked. A write that is sent now may not be confirmed. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** Take it before the write, and give it to `confirm`. */
  get session(): number {
    const server = this.#master();
    if (server !== this.#server) {
      this.#server = server;
      this.#cuts++;
    }
    return this.#cuts;
  }

  #master(): Server | undefined {
    try {
      return masterOf(this.#redis, this.#key);
    } catch {
      // Nobody is known to have the slot at the moment.
      return undefined;
    }
  }

  /**
   * Resolves when enough replicas have all that was written in this session.
   * @throws ReplicasBehind at the deadline; the connection's error, also when the session is over
   */
  async confirm(session: number, deadline: Deadline): Promise<void> {
    for (;;) {
      if (session !== this.session) throw new Error('the connection was cut before the replicas answered');
      const found = await within(deadline.leftMs, (this.#next ??= this.#afterCurrent()), () => undefined);
      if (found !== undefined && found >= this.#count && session === this.session) return;
      if (deadline.isOver) throw new ReplicasBehind(this.#count, this.#found);
    }
  }

  async #afterCurrent(): Promise<number> {
    await this.#current.catch(() => undefined);
    this.#next = undefined;
    const asking = masterOf(this.#redis, this.#key).wait(this.#count, WAIT_MS);
    this.#current = asking;
    this.#found = await asking;
    this.#isBehind = this.#found < this.#count;
    return this.#found;
  }
}

/** @throws UnsafeServerError with the fix, when so few replicas are connected that every write would be refused */
export async function checkReplicas(redis: Redis, count: number): Promise<void> {
  const found = await fewestReplicas(redis);
  if (found >= count) return;
  throw new UnsafeServerError(
    `Redis has ${found} connected replicas, and TIERLINE_ENQUEUE_REPLICAS asks that ${count} have each write: every write would be refused. ` +
      'Connect replicas (REPLICAOF on each), or lower TIERLINE_ENQUEUE_REPLICAS.',
  );
}

/** Of a cluster those of the master that has the fewest: the slot may move there. */
async function fewestReplicas(redis: Redis): Promise<number> {
  const infos = await Promise.all(mastersOf(redis).map((server) => ServerInfo.of(server, 'replication')));
  return Math.min(...infos.map((info) => info.number('connected_slaves') ?? Number.POSITIVE_INFINITY));
}

/**
 * Who waits for the replicas of each lane; nobody when none are asked for. One server needs one for all lanes, whose waits are
 * shared then.
 */
export function replicaWaits(
  redis: Redis,
  lanes: readonly Keys[],
  count: number,
): (lane: Keys) => ReplicaWaits | undefined {
  if (count === 0) return () => undefined;
  const [first] = lanes as [Keys];
  const shared = isCluster(redis) ? undefined : new ReplicaWaits(redis, first.clock, count);
  return (lane) => shared ?? new ReplicaWaits(redis, lane.clock, count);
}
