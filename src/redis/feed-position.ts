import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Keys } from '../keys.ts';
import type { FeedPosition } from '../schema/feed.ts';
import { readTogether } from './read-together.ts';

export interface FeedHead extends FeedPosition {
  /** The stream holds no entry at all; `id` is then '0-0'. */
  readonly empty: boolean;
}

const headReply = z.tuple([
  z.tuple([z.string().nullable(), z.coerce.number().nullable()]),
  z.array(z.tuple([z.string(), z.unknown()])),
]);
const numberReply = z.tuple([z.string().nullable(), z.coerce.number().nullable()]);
const rangeReply = z.array(z.tuple([z.string(), z.array(z.string())]));

/** Where the feed ends now, in one step. */
export async function feedHead(redis: Redis, keys: Keys): Promise<FeedHead> {
  const [[epoch, entries], newest] = headReply.parse(
    await readTogether(
      redis,
      [keys.clock, keys.feed],
      [
        ['HMGET', keys.clock, 'epoch', 'entries'],
        ['XREVRANGE', keys.feed, '+', '-', 'COUNT', '1'],
      ],
    ),
  );
  return {
    id: newest[0]?.[0] ?? '0-0',
    number: entries ?? 0,
    epoch: epoch ?? '',
    empty: newest.length === 0,
  };
}

/** The same without the stream id: one cheap command, for who only asks "is there more than I have seen?". */
export async function feedNumber(redis: Redis, keys: Keys): Promise<Pick<FeedPosition, 'epoch' | 'number'>> {
  const [epoch, entries] = numberReply.parse(await redis.hmget(keys.clock, 'epoch', 'entries'));
  return { epoch: epoch ?? '', number: entries ?? 0 };
}

export interface NumberedChanges {
  readonly id: string;
  readonly number: number;
  /** JSON of `FeedChanges`. */
  readonly changes: string;
}

/** Up to `count` entries after the stream id `after`, oldest first. */
export async function feedAfter(
  redis: Redis,
  keys: Keys,
  after: string,
  count: number,
): Promise<NumberedChanges[]> {
  const entries = rangeReply.parse(await redis.xrange(keys.feed, `(${after}`, '+', 'COUNT', count));
  return entries.map(([id, fields]) => ({
    id,
    number: Number(fieldOf(fields, 'n')),
    changes: fieldOf(fields, 'changes'),
  }));
}

/** One field of an entry as Redis gives it: names and values in turn. */
export function fieldOf(fields: readonly string[], name: string): string {
  return fields[fields.indexOf(name) + 1] ?? '';
}
