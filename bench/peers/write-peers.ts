import { bullmqBatcher } from './bullmq-batcher.ts';
import { bullmqChunks } from './bullmq-chunks.ts';
import { bullmqKnex } from './bullmq-knex.ts';
import { BATCH } from './batcher.ts';
import { graphileBatcher, graphileChunks } from './graphile-worker.ts';
import { pgBoss } from './pg-boss.ts';
import type { WritePeer } from './write-peer.ts';

/** By the name that stands in the figures. `chunks` are jobs of 500 items, all others have a job an item. */
export const WRITE_PEERS: Readonly<Record<string, WritePeer>> = {
  bullmq_knex: bullmqKnex,
  bullmq_batcher: bullmqBatcher,
  bullmq_chunks: bullmqChunks,
  pg_boss: pgBoss(1),
  pg_boss_chunks: pgBoss(BATCH),
  graphile_batcher: graphileBatcher,
  graphile_chunks: graphileChunks,
};
