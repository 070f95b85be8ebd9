import type { NewItem } from '../../src/types/write.ts';
import { BATCH, Batcher } from './batcher.ts';
import { consumeBullmq, openBullmq } from './bullmq-queue.ts';
import { ItemWriter } from './item-writer.ts';
import type { WritePeer } from './write-peer.ts';

/** BullMQ with a job an item whose workers write batches: while one is written the jobs of the next are fetched. */
export const bullmqBatcher: WritePeer = {
  open: (place) => Promise.resolve(openBullmq(place, (items) => items)),
  consume(place, stored) {
    const writer = new ItemWriter(place);
    const batcher = new Batcher(async (items) => {
      await writer.write(items);
      stored(items.length);
    });
    return consumeBullmq<NewItem>(place, 2 * BATCH, ({ data }) => batcher.add(data));
  },
};
