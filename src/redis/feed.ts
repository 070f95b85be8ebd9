import { z } from 'zod';
import { Deadline, pause, within } from '../abortable.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { FeedPosition } from '../schema/feed.ts';
import { clockEpoch } from './chunk-notes.ts';
import type { Redis, Server } from './client.ts';
import { readTogether } from './commands.ts';
import { closeRedis, whenReady } from './connect.ts';
import { createRedis, isReply } from './driver.ts';
import { masterOf } from './masters.ts';
import { ServerInfo } from './server-info.ts';

export interface FeedEntry {
  readonly id: string;
  /** Text of `encodeFeedJobs`. */
  readonly jobs: string;
  /** JSON of `FeedChanges`. */
  readonly changes: string;
  /** Set when this entry tells of a new generation of L2 copies. */
  readonly generation?: string;
}

export interface FeedListener {
  onEntry?(entry: FeedEntry): void;
  /**
   * Entries were missed for good. `trimmed`: the feed no longer holds them. `lost`: Redis lost its data, all of it or the
   * newest.
   */
  onGap?(kind: 'trimmed' | 'lost'): void;
  /** The tail cannot see the feed from now on. */
  onDown?(): void;
  /** The tail sees the feed again, and every entry up to its head has been delivered. */
  onLive?(): void;
}

/** How long one XREAD waits. After an empty wait the tail checks that it is still the same feed. */
const BLOCK_MS = 1000;
/** An answer this late means that the server ended without closing the socket. TCP alone would wait for minutes. */
const ANSWER_MS = BLOCK_MS + 2000;
const BATCH = 64;
/** Between two attempts to start. */
const START_PAUSE_MS = 50;

const entriesReply = z
  .array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))]))
  .nullable();

/**
 * Follows the change feed on a connection of its own and tells its listeners of every entry, in order, and once unless Redis was
 * emptied meanwhile.
 *
 * Two modes. *Live*: connected, and every entry up to the head has been delivered. *Down*: anything else.
 *
 * Entries are numbered without gaps. A jump of the number shows that the stream was trimmed. Another epoch shows that Redis was
 * emptied or replaced, and a number or a stream id that went down shows that it came back without its newest data, or that a
 * replica without them was promoted; both are checked on every connect and every idle second. A jump on another server than
 * before may hide such a loss, and counts as one. After a gap the listeners must drop what they know, and the tail goes on from
 * the head; of an emptied Redis it delivers all entries, because none was seen.
 */
export class FeedTail {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #log: Logger;
  readonly #listeners = new Set<FeedListener>();
  #cursor = '0-0';
  #number = 0;
  #epoch = '';
  /** Run id of the server that the place was taken from. */
  #server: string | undefined;
  /** Connected to another server, or to the same one started again, and not live yet: it may have another history. */
  #isOtherServer = false;
  /** What leads to it: on a cluster the connection to the master that has the feed. */
  #connection: Server | undefined;
  #live = false;
  #closed = false;
  #running: Promise<void> | undefined;

  constructor(url: string, keys: Keys, log: Logger) {
    this.#redis = createRedis(url, 'manual', log);
    this.#keys = keys;
    this.#log = log;
  }

  get live(): boolean {
    return this.#live;
  }

  /** The last entry delivered. */
  get position(): FeedPosition {
    return { epoch: this.#epoch, number: this.#number, id: this.#cursor };
  }

  /** Whether every entry up to `head`, which was read on another connection, has been delivered here. */
  hasReached(head: Pick<FeedPosition, 'epoch' | 'number'>): boolean {
    return this.#live && head.epoch === this.#epoch && head.number <= this.#number;
  }

  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Begins at the feed's head and follows from there. A connection that is cut meanwhile is made again.
   * @throws the last error when the time is up
   */
  async start(timeoutMs: number): Promise<void> {
    const deadline = new Deadline(timeoutMs);
    while (!(await this.#takePlace(deadline))) await pause(START_PAUSE_MS);
    this.#live = true;
    for (const listener of this.#listeners) listener.onLive?.();
    this.#running = this.#follow();
  }

  /** False when it failed and there is time for another attempt. */
  async #takePlace(deadline: Deadline): Promise<boolean> {
    try {
      // Not awaited: it has no time limit against a server that takes connections and says nothing.
      if (this.#redis.status === 'end' && !this.#closed) this.#redis.connect().catch(() => undefined);
      await whenReady(this.#redis, deadline.leftMs);
      // A fresh namespace has no epoch yet. Make one, because an epoch that appears later would look like another Redis.
      await deadline.within(clockEpoch(this.#redis, this.#keys));
      this.#server = await deadline.within(this.#runId());
      const head = await deadline.within(this.#head());
      [this.#cursor, this.#number, this.#epoch] = [head.id, head.number, head.epoch];
      return true;
    } catch (error) {
      if (this.#closed || deadline.leftMs <= START_PAUSE_MS) throw error;
      return false;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    // Not quit(): it would wait for the blocked XREAD.
    this.#redis.disconnect();
    await this.#running;
    await closeRedis(this.#redis);
  }

  async #follow(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      try {
        if (!this.#live) await this.#resume();
        failures = 0;
        await this.#readOnce(BLOCK_MS);
      } catch (error) {
        if (this.#closed) return;
        this.#goDown(error);
        failures++;
        await pause(Math.min(20 * 2 ** Math.min(failures, 6), 1000));
      }
    }
  }

  /** Delivers new entries. Checks the head when there are none. */
  async #readOnce(blockMs: number): Promise<boolean> {
    const wait = blockMs > 0 ? (['BLOCK', blockMs] as const) : [];
    const reply = entriesReply.parse(
      await this.#answer(
        this.#redis.call('XREAD', 'COUNT', BATCH, ...wait, 'STREAMS', this.#keys.feed, this.#cursor),
      ),
    );
    // A cluster sends a command to the server that has the key by now. Whether that one has our history is asked as after a cut.
    if (masterOf(this.#redis, this.#keys.feed) !== this.#connection) {
      throw new Error('the feed is on another server now');
    }
    const entries = reply?.[0]?.[1] ?? [];
    const [first] = entries;
    // A number that was given before may be of a Redis that was emptied: then the entries are read again, from its first one.
    const isAgain = first !== undefined && numberOf(first[1]) <= this.#number;
    const head = first === undefined || isAgain ? await this.#head() : undefined;
    if (head !== undefined && (first === undefined || head.epoch !== this.#epoch)) this.#compare(head);
    else for (const [id, fields] of entries) this.#deliver(id, fields);
    return entries.length > 0;
  }

  #deliver(id: string, fields: readonly string[]): void {
    const number = numberOf(fields);
    // A number that was given before is another entry's: a replica was promoted that lacked ours, and has gone on since.
    const isLost = number <= this.#number || this.#isOtherServer;
    if (number !== this.#number + 1) this.#tellGap(isLost ? 'lost' : 'trimmed');
    this.#cursor = id;
    this.#number = number;
    const generation = fields.includes('cache') ? { generation: fieldOf(fields, 'cache') } : undefined;
    const entry = {
      id,
      jobs: fieldOf(fields, 'jobs'),
      changes: fieldOf(fields, 'changes'),
      ...generation,
    };
    for (const listener of this.#listeners) listener.onEntry?.(entry);
  }

  /** Connects again and delivers what it missed before it is live. */
  async #resume(): Promise<void> {
    if (this.#redis.status !== 'ready') {
      this.#redis.disconnect();
      await this.#answer(this.#redis.connect());
    }
    const server = await this.#runId();
    this.#isOtherServer = server === undefined || server !== this.#server;
    this.#compare(await this.#head());
    while (await this.#readOnce(0)) continue;
    this.#isOtherServer = false;
    this.#server = server;
    this.#live = true;
    for (const listener of this.#listeners) listener.onLive?.();
  }

  /** Finds the losses that no later entry would show. */
  #compare(head: FeedHead): void {
    const isEmptied = head.epoch !== this.#epoch;
    // A Redis that was killed before its newest data was on disk comes back with fewer entries than we have seen.
    // So does a promoted replica; its clock may be behind, and then its newest entry stands before ours.
    const isOlder = head.number < this.#number || (!head.empty && isBefore(head.id, this.#cursor));
    // Entries that we never saw were counted, and the stream no longer holds them.
    const trimmed = head.number > this.#number && (head.empty || head.id === this.#cursor);
    const lost = isEmptied || isOlder || (trimmed && this.#isOtherServer);
    if (!lost && !trimmed) return;
    // A Redis that came back older, and whose clock runs behind, would number its entries below the old cursor.
    const place = isEmptied || (lost && head.empty) ? '0-0' : head.id;
    [this.#cursor, this.#number, this.#epoch] = [place, isEmptied ? 0 : head.number, head.epoch];
    this.#tellGap(lost ? 'lost' : 'trimmed');
  }

  /** Changes with every start of a server, and differs between a primary and its replicas. Undefined if the user may not call INFO. */
  async #runId(): Promise<string | undefined> {
    this.#connection = masterOf(this.#redis, this.#keys.feed);
    const info = this.#answer(ServerInfo.of(this.#connection, 'server'));
    const allowed = await info.catch((error: unknown) => {
      if (isReply(error)) return undefined;
      throw error;
    });
    return allowed?.text('run_id');
  }

  #head(): Promise<FeedHead> {
    return this.#answer(feedHead(this.#redis, this.#keys));
  }

  #answer<T>(reply: Promise<T>): Promise<T> {
    return within(ANSWER_MS, reply, () => {
      this.#redis.disconnect();
      throw new Error(`Redis did not answer within ${ANSWER_MS} ms`);
    });
  }

  #tellGap(kind: 'trimmed' | 'lost'): void {
    this.#log.warn({ kind }, 'change feed entries were missed');
    for (const listener of this.#listeners) listener.onGap?.(kind);
  }

  #goDown(error: unknown): void {
    if (!this.#live) return;
    this.#live = false;
    this.#log.warn({ err: error }, 'change feed out of sight');
    for (const listener of this.#listeners) listener.onDown?.();
  }
}

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

/** Whether a stream id stands before another one. */
function isBefore(id: string, other: string): boolean {
  const [ms = 0, sequence = 0] = id.split('-').map(Number);
  const [otherMs = 0, otherSequence = 0] = other.split('-').map(Number);
  return ms < otherMs || (ms === otherMs && sequence < otherSequence);
}

/** The newest entry of the feed. */
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

/** The number of the newest entry, in one cheap command. */
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

/**
 * Whether the feed holds the entry of this place. False also when it was trimmed, or Redis lost it. The place before the first entry
 * has none: there the feed must hold the first entry, unless nothing was written yet.
 */
export async function feedHolds(
  redis: Redis,
  keys: Keys,
  { id, number }: Pick<FeedPosition, 'id' | 'number'>,
): Promise<boolean> {
  if (number === 0) {
    const { number: newest } = await feedNumber(redis, keys);
    return newest === 0 || (await feedAfter(redis, keys, '0-0', 1))[0]?.number === 1;
  }
  const entries = rangeReply.parse(await redis.xrange(keys.feed, id, id));
  return entries.some(([, fields]) => Number(fieldOf(fields, 'n')) === number);
}

function numberOf(fields: readonly string[]): number {
  return Number(fieldOf(fields, 'n'));
}

/** One field of an entry as Redis gives it: names and values in turn. */
export function fieldOf(fields: readonly string[], name: string): string {
  return fields[fields.indexOf(name) + 1] ?? '';
}
