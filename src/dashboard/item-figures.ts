import { messageOf } from '../errors.ts';
import { readL3 } from '../postgres/pool.ts';
import { readRows } from '../postgres/read-items.ts';
import { type FeedHistory, feedHistory } from '../redis/feed.ts';
import { pendingStamps } from '../redis/in-flight.ts';
import { parseId } from '../schema/item.ts';
import { decodeStored, type StoredItem } from '../schema/stored-item.ts';
import { inTime } from './patience.ts';
import type { Sources } from './sources.ts';

/** What one tier says of an id. */
export type TierAnswer =
  | { readonly state: 'found'; readonly item: StoredItem; readonly ttlMs?: number }
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly why: string };

export interface ItemFigures {
  readonly id: string;
  readonly l2: TierAnswer;
  readonly l3: TierAnswer;
  /** The stamp of a write that has not settled. */
  readonly pending: number | undefined;
  readonly history: FeedHistory | undefined;
  /** What could not be asked. */
  readonly problems: readonly string[];
}

/** Looks one id up in every tier. @throws InvalidItemError for what cannot be an id */
export async function itemFigures(sources: Sources, given: string): Promise<ItemFigures> {
  const id = parseId(given);
  const { queue, keys } = sources;
  const problems: string[] = [];
  const orNothing = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await inTime(work);
    } catch (error) {
      problems.push(messageOf(error));
      return undefined;
    }
  };
  const [l2, l3, stamps, history] = await Promise.all([
    tierAnswer(copyOf(sources, id)),
    tierAnswer(rowOf(sources, id)),
    orNothing(pendingStamps(queue, keys, [id])),
    orNothing(feedHistory(queue, keys, id)),
  ]);
  return { id, l2, l3, pending: stamps?.[0], history, problems };
}

/** Whether the copy says the same as the row. A missing copy agrees with anything; one that stands for L2 alone does too. */
export function tiersAgree({ l2, l3 }: ItemFigures): boolean | undefined {
  if (l2.state === 'unknown' || l3.state === 'unknown') return undefined;
  if (l2.state === 'absent' || l2.item.tiers === 'cache') return true;
  if (l3.state === 'absent') return l2.item.kind === 'deleted';
  return l2.item.digest === l3.item.digest;
}

async function copyOf({ items }: Sources, id: string): Promise<TierAnswer> {
  await items.confirm();
  const copy = await items.inspect(id);
  if (copy === undefined) return { state: 'absent' };
  const { value, ttlMs } = copy;
  return { state: 'found', item: decodeStored(id, value), ...(ttlMs >= 0 && { ttlMs }) };
}

async function rowOf({ pool }: Sources, id: string): Promise<TierAnswer> {
  const [item] = await readL3(() => readRows(pool, [id]));
  return item === undefined ? { state: 'absent' } : { state: 'found', item };
}

async function tierAnswer(answer: Promise<TierAnswer>): Promise<TierAnswer> {
  try {
    return await inTime(answer);
  } catch (error) {
    return { state: 'unknown', why: messageOf(error) };
  }
}
