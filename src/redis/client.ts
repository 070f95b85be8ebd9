/**
 * What Tierline asks of a Redis client: the commands that it sends, with their arguments in the order of Redis's documentation and
 * their replies as RESP2 has them. Only driver.ts knows which client it is.
 */
export type Redis = Server | Cluster;

type Text = string | number;

type StreamEntry = [id: string, fieldsAndValues: string[]];

/** Commands of one key go to the server that has it. */
interface Commands {
  get(key: string): Promise<string | null>;
  mget(keys: string[]): Promise<(string | null)[]>;
  set(key: string, value: Text, unit: 'PX', ttlMs: number): Promise<unknown>;
  exists(key: string): Promise<number>;
  pttl(key: string): Promise<number>;
  unlink(...keys: string[]): Promise<number>;
  hget(key: string, field: string): Promise<string | null>;
  hmget(key: string, ...fields: string[]): Promise<(string | null)[]>;
  hgetall(key: string): Promise<Record<string, string>>;
  hlen(key: string): Promise<number>;
  hexists(key: string, field: string): Promise<number>;
  hset(key: string, field: string, value: Text): Promise<number>;
  hdel(key: string, ...fields: string[]): Promise<number>;
  zadd(key: string, ...scoresAndMembers: Text[]): Promise<unknown>;
  zcard(key: string): Promise<number>;
  zscore(key: string, member: string): Promise<string | null>;
  zmscore(key: string, ...members: string[]): Promise<(string | null)[]>;
  zrange(key: string, first: string, last: string): Promise<string[]>;
  zrange(key: string, first: string, last: string, scores: 'WITHSCORES'): Promise<string[]>;
  zrem(key: string, ...members: string[]): Promise<number>;
  xrange(key: string, first: string, last: string): Promise<unknown>;
  xrange(key: string, first: string, last: string, count: 'COUNT', n: number): Promise<unknown>;
  xrevrange(key: string, last: string, first: string, count: 'COUNT', n: number): Promise<StreamEntry[]>;
  eval(source: string, keyCount: number, ...keysAndArgs: Text[]): Promise<unknown>;
  evalsha(sha: string, keyCount: number, ...keysAndArgs: Text[]): Promise<unknown>;
  call(command: string, ...args: Text[]): Promise<unknown>;
  /** Commands that are sent together, whatever becomes of the others. */
  pipeline(): Pipeline;
  /** Commands that are carried out together. */
  multi(): Pipeline;
  quit(): Promise<unknown>;
}

/** Each command returns the pipeline. */
export interface Pipeline {
  get(key: string): Pipeline;
  mget(keys: string[]): Pipeline;
  getrange(key: string, first: number, last: number): Pipeline;
  setnx(key: string, value: string): Pipeline;
  strlen(key: string): Pipeline;
  persist(key: string): Pipeline;
  expire(key: string, seconds: number): Pipeline;
  unlink(key: string): Pipeline;
  del(...keys: string[]): Pipeline;
  hset(key: string, field: string, value: Text): Pipeline;
  hdel(key: string, ...fields: string[]): Pipeline;
  hgetall(key: string): Pipeline;
  hincrby(key: string, field: string, by: number): Pipeline;
  hstrlen(key: string, field: string): Pipeline;
  llen(key: string): Pipeline;
  lrange(key: string, first: number, last: number): Pipeline;
  zremrangebyscore(key: string, lowest: string, highest: string): Pipeline;
  evalsha(sha: string, keyCount: number, ...keysAndArgs: Text[]): Pipeline;
  /** What became of each command, in order. */
  exec(): Promise<[error: Error | null, reply: unknown][] | null>;
}

/**
 * `ready`: it takes commands. `close`: it is cut off. `end`: it does not connect again by itself. `error` has why it did not connect.
 */
type ConnectionEvent = 'ready' | 'close' | 'end' | 'error';

interface Connection {
  readonly isCluster: boolean;
  /** `wait` before the first `connect`, `ready` while it takes commands, `end` for good. */
  readonly status: string;
  connect(): Promise<void>;
  disconnect(reconnect?: boolean): void;
  on(event: ConnectionEvent, listener: (error: unknown) => void): unknown;
  off(event: ConnectionEvent, listener: (error: unknown) => void): unknown;
}

/** A connection to one server. */
export interface Server extends Commands, Connection {
  acl(command: 'WHOAMI'): Promise<string>;
  cluster(command: 'SLOTS' | 'INFO'): Promise<unknown>;
  dbsize(): Promise<number>;
  info(...sections: string[]): Promise<string>;
  ping(): Promise<unknown>;
  scan(
    cursor: string,
    match: 'MATCH',
    pattern: string,
    count: 'COUNT',
    n: number,
  ): Promise<[string, string[]]>;
  script(command: 'LOAD', source: string): Promise<unknown>;
  time(): Promise<unknown>;
  /** Resolves with how many replicas have what this connection wrote. */
  wait(replicas: number, timeoutMs: number): Promise<number>;
}

/** A connection to all servers of a cluster. */
export interface Cluster extends Commands, Connection {
  /** `host:port` of the servers that have each slot, its master first. */
  readonly slots: readonly string[][];
  nodes(role: 'master'): Server[];
  cluster(command: 'SLOTS'): Promise<unknown>;
  cluster(command: 'INFO'): Promise<string>;
  on(event: ConnectionEvent | 'refresh', listener: (error: unknown) => void): unknown;
  off(event: ConnectionEvent | 'refresh', listener: (error: unknown) => void): unknown;
}

export function isCluster(redis: Redis): redis is Cluster {
  return redis.isCluster;
}
