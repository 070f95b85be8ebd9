import { Redis } from 'ioredis';
import { within } from '../abortable.ts';
import { messageOf, UnsafeServerError } from '../errors.ts';
import type { Logger } from '../log.ts';

export type { ChainableCommander as Pipeline, Redis } from 'ioredis';

/**
 * `failFast`: commands reject at once while the server is away, so callers keep control of how long to wait.
 * `patient`: commands wait for the server, which BullMQ's workers require.
 * `manual`: no reconnection by itself; the owner calls `connect()` and learns of every cut.
 */
export type ConnectionMode = 'failFast' | 'patient' | 'manual';

const CONNECT_TIMEOUT_MS = 1000;
/** How long ioredis waits for a socket to close. It waits also for one that is closed already, and keeps the process alive. */
const DISCONNECT_TIMEOUT_MS = 200;
const MAX_RETRY_DELAY_MS = 1000;
const QUIT_MS = 1000;

/** A connection that is not yet connected. Its `error` events go to the log: without a listener they would end the process. */
export function createRedis(url: string, mode: ConnectionMode, log: Logger): Redis {
  const redis = new Redis(url, {
    lazyConnect: true,
    // With RESP3 XREAD answers a flat map, and pushes are dropped. Nothing here needs RESP3.
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    enableOfflineQueue: mode === 'patient',
    autoResendUnfulfilledCommands: mode === 'patient',
    maxRetriesPerRequest: mode === 'patient' ? null : 0,
    // A server that became a replica keeps its connections. Connecting again by its name may find the new primary.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    retryStrategy:
      mode === 'manual'
        ? () => null
        : (attempt) => Math.min(25 * 2 ** Math.min(attempt, 6), MAX_RETRY_DELAY_MS),
  });
  redis.on('error', (error: unknown) => log.debug({ err: error }, 'Redis connection error'));
  return redis;
}

/** Waits until the connection takes commands. @throws what kept it from connecting, or a timeout. */
export async function whenReady(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'ready') return;
  // A lazy connection starts here. When it fails, the events below tell why.
  if (redis.status === 'wait') redis.connect().catch(() => undefined);
  await new Promise<void>((resolve, reject) => {
    let lastError: unknown;
    const onReady = () => finish(resolve);
    const onError = (error: unknown) => {
      lastError = error;
    };
    const onEnd = () =>
      finish(() => reject(new Error(`not connected: ${messageOf(lastError ?? 'connection ended')}`)));
    const timer = setTimeout(() => {
      const why = lastError === undefined ? 'no answer' : messageOf(lastError);
      finish(() => reject(new Error(`not connected within ${timeoutMs} ms: ${why}`, { cause: lastError })));
    }, timeoutMs);
    function finish(then: () => void): void {
      clearTimeout(timer);
      redis.off('ready', onReady);
      redis.off('error', onError);
      redis.off('end', onEnd);
      then();
    }
    redis.on('ready', onReady);
    redis.on('error', onError);
    redis.on('end', onEnd);
  });
}

/** Cuts a connection, which then connects again by itself: the server may be gone without having closed it. */
export function reconnect(redis: Redis): void {
  if (redis.status === 'ready') redis.disconnect(true);
}

/** @throws why the server did not answer */
export async function pingRedis(redis: Redis): Promise<void> {
  await redis.ping();
}

/** Ends a connection for good: politely when it answers within a second, else by cutting it. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await within(QUIT_MS, redis.quit()).catch(() => undefined);
  if (redis.status !== 'end') redis.disconnect();
}

/**
 * Lets BullMQ's scripts on this connection run while Redis is at its `maxmemory`. Workers need it: they free memory.
 * When a script's first write may need memory, Redis refuses the script. When its first write needs none, such as this DEL,
 * Redis allows all that follows. Taking a job begins with a write that may need memory.
 */
export function runWhenFull(redis: Redis): void {
  const define = redis.defineCommand.bind(redis);
  redis.defineCommand = (name, definition) =>
    define(name, { ...definition, lua: `redis.call('DEL', KEYS[1] .. ':none')\n${definition.lua}` });
}

/** What to do about a Redis that did not answer as it should. @param variable the one with its URL */
export function redisFix(error: unknown, variable: string): string {
  const message = messageOf(error);
  if (/NOAUTH/.test(message)) return `give the password of the server in ${variable}: redis://:password@host`;
  if (/WRONGPASS|invalid password|invalid username-password/i.test(message)) {
    return `correct user and password in ${variable}`;
  }
  if (/NOPERM/.test(message)) {
    return `give the user of ${variable} the rights (ACL SETUSER … ~* &* +@all)`;
  }
  return `start the server, or correct ${variable}`;
}

const OLDEST_REDIS = [6, 2] as const;

/** What a server says of itself: the fields of INFO by their names. */
export class ServerInfo {
  readonly #fields: ReadonlyMap<string, string>;

  constructor(text: string) {
    this.#fields = new Map(
      text.split('\n').flatMap((line) => {
        const at = line.indexOf(':');
        return at < 0 || line.startsWith('#') ? [] : [[line.slice(0, at), line.slice(at + 1).trimEnd()]];
      }),
    );
  }

  static async of(redis: Redis, section?: string): Promise<ServerInfo> {
    return new ServerInfo(section === undefined ? await redis.info() : await redis.info(section));
  }

  /** As `Redis 7.2.4`. */
  get product(): string {
    const valkey = this.text('valkey_version');
    return valkey === undefined ? `Redis ${this.text('redis_version') ?? '0'}` : `Valkey ${valkey}`;
  }

  /** Whether it is Redis 6.2 or newer, or Valkey. */
  get isNewEnough(): boolean {
    if (this.text('valkey_version') !== undefined) return true;
    const [major = 0, minor = 0] = (this.text('redis_version') ?? '0').split('.').map(Number);
    return major > OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor >= OLDEST_REDIS[1]);
  }

  text(name: string): string | undefined {
    return this.#fields.get(name);
  }

  number(name: string): number | undefined {
    const value = Number(this.#fields.get(name));
    return Number.isFinite(value) ? value : undefined;
  }
}

/**
 * Refuses a server that is too old, or whose memory policy could evict accepted writes. Some managed services do not tell
 * their policy; they are taken.
 * @throws UnsafeServerError with the fix in its message
 */
export async function checkQueueServer(redis: Redis, log: Logger): Promise<void> {
  const info = await ServerInfo.of(redis);
  if (!info.isNewEnough) {
    throw new UnsafeServerError(
      `${info.product} is too old: Tierline needs Redis 6.2 or newer, or Valkey. Upgrade the server.`,
    );
  }
  const policy = info.text('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new UnsafeServerError(
      `Redis may evict accepted writes: its maxmemory-policy is ${policy}. Run CONFIG SET maxmemory-policy noeviction ` +
        '(and set it in redis.conf); give the cache a Redis of its own with CACHE_REDIS_URL if it shall evict.',
    );
  }
  if (info.text('aof_enabled') === '0') {
    log.warn(
      'Redis keeps no append-only file: a restart loses writes that were accepted but not yet settled. Set appendonly yes.',
    );
  }
}

/** Memory in use as a share of `maxmemory`; 0 when there is no limit, and when the user may not call INFO. */
export async function usedMemoryShare(redis: Redis): Promise<number> {
  const info = await ServerInfo.of(redis, 'memory').catch((error: unknown) => {
    if (isReply(error)) return undefined;
    throw error;
  });
  const max = info?.number('maxmemory') ?? 0;
  return max > 0 ? (info?.number('used_memory') ?? 0) / max : 0;
}

/**
 * What a failed command means for whoever wrote something.
 * `away`: no answer, or a reply after which the same command can succeed: try again. `memory`: the server is full; commands
 * that free memory still work. `data`: it will never take this command on this key.
 */
export type RedisFailure = 'away' | 'memory' | 'data';

/**
 * Replies after which the same command can succeed: the server is busy, is loading, is a replica, cannot write its disk,
 * moved the slot, or does not know the user. Redis 6 wraps the errors of a script's commands in one of its own, so the word
 * may stand anywhere.
 */
const NOT_NOW =
  /\b(BUSY|LOADING|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|NOSCRIPT|UNKILLABLE)\b|max number of clients/;

export function redisFailure(error: unknown): RedisFailure {
  if (!isReply(error)) return 'away';
  const message = messageOf(error);
  if (/\bOOM\b/.test(message)) return 'memory';
  return NOT_NOW.test(message) ? 'away' : 'data';
}

/** Whether Redis answered this error. Otherwise the connection failed. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
