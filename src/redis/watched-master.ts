import type { Redis } from 'ioredis';

/**
 * Keeps a connection to a master that Sentinels watch connecting until it is closed.
 *
 * ioredis takes the news of a failover for a call of `disconnect`. When the news comes while it asks the Sentinels for the
 * master, it gives the connection up for good: a worker then took no further job, and a producer refused every write.
 */
export function keepConnecting(redis: Redis): void {
  let isClosed = false;
  const disconnect = redis.disconnect.bind(redis);
  redis.disconnect = (reconnect = false) => {
    isClosed ||= !reconnect;
    disconnect(reconnect);
  };
  // One that was connected ends by `close`: then `quit` or `disconnect` was called.
  let isConnecting = false;
  redis.on('connecting', () => {
    isConnecting = true;
  });
  redis.on('close', () => {
    isConnecting = false;
  });
  redis.on('end', () => {
    // What keeps it from connecting is told by the `error` event.
    if (isConnecting && !isClosed) redis.connect().catch(() => undefined);
  });
}
