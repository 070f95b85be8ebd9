import { z } from 'zod';
import type { Keys } from '../keys.ts';
import type { Redis } from './connect.ts';

const count = z.int().min(0);

const figuresSchema = z.object({
  /** Copies compared with their rows. */
  checked: count,
  /** Older than their row, and replaced. */
  stale: count,
  /** Not what any write stored, and replaced. */
  corrupt: count,
  /** Of deleted rows, and replaced by the tombstone or dropped. */
  deleted: count,
  /** Of an older generation, and dropped. */
  outdated: count,
  /** Newer than their row while nothing of the id was on its way: Postgres lost a settled write. Kept. */
  lost: count,
  /** Different from their row while a write of the id was on its way: left to the next turn. */
  inFlight: count,
});
/** What a turn of the sweep found. A key that Redis moves during the walk may be counted twice. */
export type CopyFigures = z.output<typeof figuresSchema>;

export const NO_FIGURES: CopyFigures = {
  checked: 0,
  stale: 0,
  corrupt: 0,
  deleted: 0,
  outdated: 0,
  lost: 0,
  inFlight: 0,
};

export const copyTurnSchema = z.object({
  /** 1 for the first turn of a deployment. */
  number: z.int().min(1),
  /** Where SCAN goes on. */
  cursor: z.string(),
  /** Of the copies when the cursor was given: another server would not know it. '' before the first page. */
  generation: z.string(),
  /** Of Redis's key table, those that the walk has visited. */
  slots: count,
  startedMs: z.number(),
  /** Milliseconds of work so far, pauses left out. */
  workedMs: z.number(),
  endedMs: z.number().optional(),
  figures: figuresSchema,
  /** Lost writes for which the list of their ids had no room. */
  unlisted: count,
});
/** One walk over all L2 copies. */
export type CopyTurn = z.output<typeof copyTurnSchema>;

export interface CopyTurns {
  readonly current: CopyTurn | undefined;
  readonly last: CopyTurn | undefined;
}

export async function readTurns(redis: Redis, keys: Keys): Promise<CopyTurns> {
  const [current, last] = await redis.hmget(keys.copyTurns, 'current', 'last');
  return { current: parsed(current), last: parsed(last) };
}

function parsed(text: string | null | undefined): CopyTurn | undefined {
  return text == null ? undefined : copyTurnSchema.parse(JSON.parse(text));
}

export async function saveTurn(redis: Redis, keys: Keys, turn: CopyTurn): Promise<void> {
  await redis.hset(keys.copyTurns, 'current', JSON.stringify(turn));
}

/** The turn is the last one now, and lost writes that it did not see again are no longer lost. */
export async function endTurn(redis: Redis, keys: Keys, turn: CopyTurn): Promise<void> {
  const replies = await redis
    .multi()
    .hset(keys.copyTurns, 'last', JSON.stringify(turn))
    .hdel(keys.copyTurns, 'current')
    .zremrangebyscore(keys.lostWrites, '-inf', `(${turn.number}`)
    .exec();
  const failed = replies?.find(([error]) => error !== null);
  if (failed?.[0] != null) throw failed[0];
}
