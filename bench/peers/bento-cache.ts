import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisDriver } from 'bentocache/drivers/redis';
import { Redis } from 'ioredis';
import { MAX_IN_MEMORY, type ReadPeer } from './read-peer.ts';
import { RowLoader } from './row-loader.ts';

/**
 * BentoCache with both layers. It has no call for many: its gets of one turn go out as one pipeline, and the rows that
 * its factories ask for come with one statement. Memory holds text, which costs a parse a hit: with `serialize: false` version 1.6
 * throws at a value that came from Redis.
 */
export const bentoCache: ReadPeer = {
  open(place) {
    const connection = new Redis(place.cacheRedisUrl, { enableAutoPipelining: true });
    const rows = new RowLoader(place);
    const cache = new BentoCache({
      default: 'items',
      prefix: `${place.namespace}:${place.name}`,
      stores: {
        items: bentostore()
          .useL1Layer(memoryDriver({ maxItems: MAX_IN_MEMORY }))
          .useL2Layer(redisDriver({ connection })),
      },
    });
    const get = (id: string) => cache.getOrSet({ key: id, ttl: '1h', factory: () => rows.load(id) });
    return Promise.resolve({
      get,
      getMany: (ids) => Promise.all(ids.map(get)),
      fill: (items) =>
        Promise.all(items.map(({ id, content }) => cache.set({ key: id, ttl: '1h', value: content }))),
      async close() {
        await cache.disconnectAll();
        await rows.close();
      },
    });
  },
};
