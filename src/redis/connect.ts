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
/** ioredis gives a socket that is being closed so long, also one that is closed already, and the process lives on for it. */
const DISCONNECT_TIMEOUT_MS = 200;
const MAX_RETRY_DELAY_MS = 1000;
const QUIT_MS = 1000;

/** A connection that is not yet connected. Its `error` events go to the log: an unheard one would end the process. */
export function createRedis(url: string, mode: ConnectionMode, log: Logger): Redis {
  const redis = new Redis(url, {
    lazyConnect: true,
    // RESP3 answers XREAD with a flat map through `call`, and drops pushes; nothing here needs it.
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    enableOfflineQueue: mode === 'patient',
    autoResendUnfulfilledCommands: mode === 'patient',
    maxRetriesPerRequest: mode === 'patient' ? null : 0,
    // A server that became a replica keeps its connections: its name may lead to another one by now.
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
  // A lazy connection starts here; its own rejection is told by the events below.
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

/** Ends a connection for good: politely when it answers within a second, else by cutting it. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await within(QUIT_MS, redis.quit()).catch(() => undefined);
  if (redis.status !== 'end') redis.disconnect();
}

/**
 * Lets the scripts that BullMQ defines on this connection run while Redis is at its `maxmemory`: for workers, which make room.
 * Redis refuses the first write of a script that may need memory, and allows whatever follows a write that cannot. Taking a
 * job begins with a write of the first kind; idle workers would never take what fills the memory.
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

/**
 * Refuses a server that is too old, or whose memory policy could evict accepted writes.
 * A policy that the server does not tell (managed services forbid CONFIG) is taken from INFO.
 * @throws UnsafeServerError with the fix in its message.
 */
export async function checkQueueServer(redis: Redis, log: Logger): Promise<void> {
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const version = field('valkey_version') ?? field('redis_version') ?? '0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (
    field('valkey_version') === undefined &&
    (major < OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor < OLDEST_REDIS[1]))
  ) {
    throw new UnsafeServerError(
      `Redis ${version} is too old: Tierline needs Redis 6.2 or newer, or Valkey. Upgrade the server.`,
    );
  }
  const policy = field('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new UnsafeServerError(
      `Redis may evict accepted writes: its maxmemory-policy is ${policy}. Run CONFIG SET maxmemory-policy noeviction ` +
        '(and set it in redis.conf); give the cache a Redis of its own with CACHE_REDIS_URL if it shall evict.',
    );
  }
  if (field('aof_enabled') === '0') {
    log.warn(
      'Redis keeps no append-only file: a restart loses writes that were accepted but not yet settled. Set appendonly yes.',
    );
  }
}

/** The fields of INFO, as text by their names. */
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

  text(name: string): string | undefined {
    return this.#fields.get(name);
  }

  number(name: string): number | undefined {
    const value = Number(this.#fields.get(name));
    return Number.isFinite(value) ? value : undefined;
  }
}

/**
 * What a failed command means for whoever wrote something.
 * `away`: no answer, or one that says "not now" or "not you": try again. `memory`: the server is full; what frees memory it
 * still does. `data`: it will never take this command on this key.
 */
export type RedisFailure = 'away' | 'memory' | 'data';

/**
 * Replies after which the same command can succeed: the server is busy, loading, a replica, cannot write its disk, moved the
 * slot, or has not been told who we are. Redis 6 wraps the errors of a script's commands in one of its own, so the word is
 * looked for anywhere.
 */
const NOT_NOW =
  /\b(BUSY|LOADING|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|NOSCRIPT|UNKILLABLE)\b|max number of clients/;

export function redisFailure(error: unknown): RedisFailure {
  if (!isReply(error)) return 'away';
  const message = messageOf(error);
  if (/\bOOM\b/.test(message)) return 'memory';
  return NOT_NOW.test(message) ? 'away' : 'data';
}

/** An error that Redis answered, and not one of the connection. */
function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
