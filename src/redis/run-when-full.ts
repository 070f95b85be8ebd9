import type { Redis } from 'ioredis';

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
