import { Redis } from 'ioredis';
import knex from 'knex';
import type { NewItem } from '../../src/types/write.ts';
import { consumeBullmq, openBullmq } from './bullmq-queue.ts';
import { copyKey } from './item-writer.ts';
import type { WritePeer } from './write-peer.ts';

/** BullMQ as most teams begin: a job an item, an upsert and a SET a job. */
export const bullmqKnex: WritePeer = {
  open: (place) => Promise.resolve(openBullmq(place, (items) => items)),
  consume(place, stored) {
    const cache = new Redis(place.cacheRedisUrl);
    const db = knex({ client: 'pg', connection: place.databaseUrl, pool: { min: 0, max: 20 } });
    return consumeBullmq<NewItem>(place, 50, async ({ data: { id, content } }) => {
      const text = JSON.stringify(content);
      await db(place.table).insert({ id, content: text, updated_at: db.fn.now() }).onConflict('id').merge();
      await cache.set(copyKey(place, id), text);
      stored(1);
    });
  },
};
