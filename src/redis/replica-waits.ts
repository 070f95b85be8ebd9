import { type Deadline, within } from '../abortable.ts';
import { UnsafeServerError } from '../errors.ts';
import { type Redis, ServerInfo } from './connect.ts';

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
  readonly #count: number;
  #cuts = 0;
  #found = 0;
  #isBehind = false;
  #current: Promise<unknown> = Promise.resolve();
  #next: Promise<number> | undefined;

  /** @param count replicas that must have each write, 1 or more */
  constructor(redis: Redis, count: number) {
    this.#redis = redis;
    this.#count = count;
    redis.on('close', () => this.#cuts++);
  }

  /** Whether too few replicas had the writes when they were last asked. A write that is sent now may not be confirmed. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** Take it before the write, and give it to `confirm`. */
  get session(): number {
    return this.#cuts;
  }

  /**
   * Resolves when enough replicas have all that was written in this session.
   * @throws ReplicasBehind at the deadline; the connection's error, also when the session is over
   */
  async confirm(session: number, deadline: Deadline): Promise<void> {
    for (;;) {
      if (session !== this.#cuts) throw new Error('the connection was cut before the replicas answered');
      const found = await within(deadline.leftMs, (this.#next ??= this.#afterCurrent()), () => undefined);
      if (found !== undefined && found >= this.#count && session === this.#cuts) return;
      if (deadline.isOver) throw new ReplicasBehind(this.#count, this.#found);
    }
  }

  async #afterCurrent(): Promise<number> {
    await this.#current.catch(() => undefined);
    this.#next = undefined;
    const asking = this.#redis.wait(this.#count, WAIT_MS);
    this.#current = asking;
    this.#found = await asking;
    this.#isBehind = this.#found < this.#count;
    return this.#found;
  }
}

/** @throws UnsafeServerError with the fix, when so few replicas are connected that every write would be refused */
export async function checkReplicas(redis: Redis, count: number): Promise<void> {
  const found = (await ServerInfo.of(redis, 'replication')).number('connected_slaves');
  if (found === undefined || found >= count) return;
  throw new UnsafeServerError(
    `Redis has ${found} connected replicas, and TIERLINE_ENQUEUE_REPLICAS asks that ${count} have each write: every write would be refused. ` +
      'Connect replicas (REPLICAOF on each), or lower TIERLINE_ENQUEUE_REPLICAS.',
  );
}
