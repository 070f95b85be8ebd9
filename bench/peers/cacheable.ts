import { createKeyv as createRedisKeyv } from '@keyv/redis';
import { Cacheable, createKeyv } from 'cacheable';
import { MAX_IN_MEMORY, type ReadPeer } from './read-peer.ts';
import { RowLoader } from './row-loader.ts';

/** cacheable with memory before Redis, and the rows that both lack from one statement. `useClone` would copy every value that is read. */
export const cacheable: ReadPeer = {
  async open(place) {
    const rows = new RowLoader(place);
    const secondary = createRedisKeyv(place.cacheRedisUrl, { namespace: `${place.namespace}:${place.name}` });
    const cache = new Cacheable({
      primary: createKeyv({ useClone: false, lruSize: MAX_IN_MEMORY }),
      secondary,
      ttl: '1h',
    });
    cache.on('error', (error) => process.stderr.write(`cacheable: ${String(error)}\n`));

    async function getMany(ids: readonly string[]): Promise<readonly unknown[]> {
      const contents = await cache.getMany<unknown>([...ids]);
      const missing = ids.filter((_, i) => contents[i] === undefined);
      if (missing.length === 0) return contents;
      const found = await rows.loadMany(missing);
      // Beside the read: its caller need not wait for it.
      void cache.setMany([...found].map(([key, value]) => ({ key, value })));
      return ids.map((id, i) => contents[i] ?? found.get(id));
    }

    return {
      get: async (id) => (await cache.get<unknown>(id)) ?? (await getMany([id]))[0],
      getMany,
      fill: (items) => cache.setMany(items.map(({ id, content }) => ({ key: id, value: content }))),
      async close() {
        await cache.disconnect();
        await rows.close();
      },
    };
  },
};
