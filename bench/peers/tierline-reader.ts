import { openReader } from '../../src/read/open-reader.ts';
import type { ReadPeer } from './read-peer.ts';

/** A reader as it comes: it follows the change feed, has a filter of all ids, and never goes back to an older version. */
export const tierlineReader: ReadPeer = {
  async open(_, deployment) {
    const reader = await openReader(deployment.options);
    return {
      get: async (id) => (await reader.get(id))?.content,
      getMany: async (ids) => (await reader.getMany(ids)).map((item) => item?.content),
      // The drain has written the copies.
      fill: () => Promise.resolve(),
      close: () => reader.close(),
    };
  },
};
