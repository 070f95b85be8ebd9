import type { NewItem } from '../../src/types/write.ts';
import { consumeBullmq, openBullmq } from './bullmq-queue.ts';
import { ItemWriter } from './item-writer.ts';
import type { WritePeer } from './write-peer.ts';

/** BullMQ with all items of a call in one job: only for callers that have hundreds of items in hand. */
export const bullmqChunks: WritePeer = {
  open: (place) => Promise.resolve(openBullmq(place, (items) => [items])),
  consume(place, stored) {
    const writer = new ItemWriter(place);
    return consumeBullmq<NewItem[]>(place, 4, async ({ data }) => {
      await writer.write(data);
      stored(data.length);
    });
  },
};
