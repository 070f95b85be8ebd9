import { sum } from './all-items.ts';
import {
  areApplied,
  type DeadLetter,
  type DeadLetterWithPayload,
  deadLettersOfChunk,
  deleteDeadLetters,
  findDeadLetter,
  listDeadLetters,
  purgeDeadLetters,
} from './dead-letters.ts';
import type { Shard, Shards } from './shards.ts';

/**
 * The dead letters of all shards. Each shard numbers its own from a place of its own (`migrate-shards.ts`), so a number tells one
 * letter. All throw TierUnavailableError, which names the shard, and SchemaMissingError.
 */

/** As `listDeadLetters`: by their numbers, so letters of one shard come together. */
export async function listLetters(shards: Shards, limit: number, before?: number): Promise<DeadLetter[]> {
  const lists = await ofAll(shards, ({ pool }) => listDeadLetters(pool, limit, before));
  return lists
    .flat()
    .toSorted((a, b) => b.seq - a.seq)
    .slice(0, limit);
}

export async function findLetter(shards: Shards, seq: number): Promise<DeadLetterWithPayload | undefined> {
  const found = await ofAll(shards, ({ pool }) => findDeadLetter(pool, seq));
  return found.find((letter) => letter !== undefined);
}

export async function lettersOfChunk(shards: Shards, chunkId: string): Promise<DeadLetterWithPayload[]> {
  const lists = await ofAll(shards, ({ pool }) => deadLettersOfChunk(pool, chunkId));
  return lists.flat().toSorted((a, b) => a.stamp - b.stamp);
}

export async function areAllApplied(shards: Shards, seqs: readonly number[]): Promise<boolean> {
  return (await ofAll(shards, ({ pool }) => areApplied(pool, seqs))).every(Boolean);
}

/** Returns how many were there. */
export async function deleteLetters(shards: Shards, seqs: readonly number[]): Promise<number> {
  return sum(await ofAll(shards, ({ pool }) => deleteDeadLetters(pool, seqs)));
}

export async function purgeLetters(shards: Shards, beforeMs: number): Promise<number> {
  return sum(await ofAll(shards, ({ pool }) => purgeDeadLetters(pool, beforeMs)));
}

async function ofAll<T>(shards: Shards, work: (shard: Shard) => Promise<T>): Promise<T[]> {
  await shards.known();
  return shards.each(work);
}
