import { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { copyKey } from './item-writer.ts';
import { MAX_IN_MEMORY, type ReadPeer } from './read-peer.ts';
import { RowLoader } from './row-loader.ts';

/** What a team writes in an afternoon: an LRU, one MGET for what it lacks, one `= ANY` for what Redis lacks. Nothing tells it of changes. */
export const handWritten: ReadPeer = {
  open(place) {
    const memory = new LRUCache<string, object>({ max: MAX_IN_MEMORY });
    const redis = new Redis(place.cacheRedisUrl);
    const rows = new RowLoader(place);
    const fill = (contents: Iterable<readonly [string, unknown]>) => {
      const pipeline = redis.pipeline();
      for (const [id, content] of contents) pipeline.set(copyKey(place, id), JSON.stringify(content));
      return pipeline.exec();
    };

    async function getMany(ids: readonly string[]): Promise<readonly unknown[]> {
      const absent = ids.filter((id) => !memory.has(id));
      if (absent.length > 0) await load(absent);
      return ids.map((id) => memory.get(id));
    }

    async function load(ids: readonly string[]): Promise<void> {
      const texts = await redis.mget(ids.map((id) => copyKey(place, id)));
      const missing: string[] = [];
      for (const [i, id] of ids.entries()) {
        const text = texts[i];
        if (text) memory.set(id, JSON.parse(text) as object);
        else missing.push(id);
      }
      if (missing.length === 0) return;
      const found = await rows.loadMany(missing);
      for (const [id, content] of found) memory.set(id, content as object);
      // Beside the read: its caller need not wait for it.
      void fill(found);
    }

    return Promise.resolve({
      get: async (id) => memory.get(id) ?? (await getMany([id]))[0],
      getMany,
      fill: (items) => fill(items.map(({ id, content }) => [id, content])),
      async close() {
        redis.disconnect();
        await rows.close();
      },
    });
  },
};
