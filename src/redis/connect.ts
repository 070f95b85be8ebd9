import { Deadline, pause, within } from '../abortable.ts';
import { messageOf } from '../errors.ts';
import { type Cluster, isCluster, type Redis } from './client.ts';
import { isReply, saidByServer } from './driver.ts';

const QUIT_MS = 1000;

/** Waits until the connection takes commands. @throws what kept it from connecting, or a timeout. */
export async function whenReady(redis: Redis, timeoutMs: number): Promise<void> {
  const deadline = new Deadline(timeoutMs);
  await whenConnected(redis, timeoutMs);
  if (isCluster(redis)) await whenCovered(redis, deadline);
}

const COVERED_PAUSE_MS = 50;

/** Waits until every slot of a cluster has a server. */
async function whenCovered(cluster: Cluster, deadline: Deadline): Promise<void> {
  let uncovered: Error | undefined;
  for (;;) {
    const info = await deadline.within(cluster.cluster('INFO')).catch((error: unknown) => {
      // The time is over. What the servers said before says more than that.
      throw uncovered ?? error;
    });
    if (info.includes('cluster_state:ok')) return;
    const covered = /cluster_slots_ok:(\d+)/.exec(info)?.[1] ?? 0;
    uncovered = new Error(`CLUSTERDOWN: ${covered} of 16384 slots of the Redis Cluster have a server`);
    if (deadline.leftMs <= COVERED_PAUSE_MS) throw uncovered;
    await pause(COVERED_PAUSE_MS);
  }
}

/** Waits until commands can be sent. @throws what kept it from connecting, or a timeout. */
export async function whenConnected(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'ready') return;
  // A lazy connection starts here. When it fails, the events below tell why.
  if (redis.status === 'wait') redis.connect().catch(() => undefined);
  await new Promise<void>((resolve, reject) => {
    let lastError: unknown;
    const onReady = () => finish(resolve);
    const onError = (error: unknown) => {
      lastError = saidByServer(error);
    };
    const onEnd = () =>
      finish(() => reject(new Error(`not connected: ${messageOf(lastError ?? 'connection ended')}`)));
    const timer = setTimeout(() => {
      const why = lastError === undefined ? 'no answer' : messageOf(lastError);
      finish(() =>
        reject(new Error(`not connected within ${Math.round(timeoutMs)} ms: ${why}`, { cause: lastError })),
      );
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

/** @throws why the server, or one master of a cluster, did not answer */
export async function pingRedis(redis: Redis): Promise<void> {
  const servers = isCluster(redis) ? redis.nodes('master') : [redis];
  await Promise.all(servers.map((server) => server.ping()));
  if (servers.length === 0) throw new Error('no server of the Redis Cluster is known');
}

/** Ends a connection for good: politely when it answers within a second, else by cutting it. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await within(QUIT_MS, redis.quit()).catch(() => undefined);
  if (redis.status !== 'end') redis.disconnect();
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
  if (/CLUSTERDOWN/.test(message)) {
    return 'start the masters of the missing slots or their replicas (redis-cli --cluster check HOST:PORT tells which)';
  }
  if (/All sentinels are unreachable/i.test(message)) {
    return `start a Sentinel, or correct the hosts and the name of the master in ${variable}`;
  }
  if (/cluster support disabled/i.test(message)) {
    return `the server is no cluster: write ${variable} as redis://host, or give it the servers of a cluster`;
  }
  if (/\bMOVED\b/.test(message))
    return `the server is one of a cluster: write ${variable} as redis+cluster://host`;
  return `start the server, or correct ${variable}`;
}

/**
 * What a failed command means for whoever wrote something.
 * `away`: no answer, or a reply after which the same command can succeed: try again. `memory`: the server is full; commands
 * that free memory still work. `data`: it will never take this command on this key.
 */
export type RedisFailure = 'away' | 'memory' | 'data';

/**
 * Replies after which the same command can succeed: the server is busy, is loading, is a replica, cannot write its disk,
 * moved the slot, or does not know the user. A script that
 * looks up keys as it goes finds only then that its slot is on the move. Redis 6 wraps the errors of a script's commands in one of its own, so the word
 * may stand anywhere.
 */
const NOT_NOW =
  /\b(BUSY|LOADING|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|NOSCRIPT|UNKILLABLE)\b|max number of clients|non local key in a cluster|the cluster is down/;

export function redisFailure(error: unknown): RedisFailure {
  if (!isReply(error)) return 'away';
  const message = messageOf(error);
  if (/\bOOM\b/.test(message)) return 'memory';
  return NOT_NOW.test(message) ? 'away' : 'data';
}
