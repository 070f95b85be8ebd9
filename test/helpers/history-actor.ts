import { TierUnavailableError } from '../../src/errors.ts';
import type { Lanes } from '../../src/lanes.ts';
import type { SubmittedRange } from '../../src/producer/ticket.ts';
import type { Item, Store } from '../../src/types/read.ts';
import type { NewItem, RangeTicket, SubmitOptions, Ticket } from '../../src/types/write.ts';
import type { Expectation, History } from './history.ts';
import type { ObservedVersions } from './observed-versions.ts';
import type { Random } from './random.ts';

export const IDS = [...Array.from({ length: 9 }, (_, i) => `a.${i % 3}.${i}`), 'b.1', 'b.2', 'c'];
const PREFIXES = ['a.0.', 'a.1.', 'a.2.', 'b.'];
const STATES = ['open', 'shut', 'default'];

/** One process of a history: writes and reads at random, and tells the history of both. */
export class HistoryActor {
  readonly #store: Store;
  readonly #history: History;
  /** Of all histories of this process. */
  readonly #seen: ObservedVersions;
  readonly #random: Random;
  readonly #lanes: Lanes;

  constructor(store: Store, history: History, seen: ObservedVersions, random: Random, lanes: Lanes) {
    this.#store = store;
    this.#history = history;
    this.#seen = seen;
    this.#random = random;
    this.#lanes = lanes;
  }

  /** The ids of one partition: those that an atomic call may have. */
  #inOnePartition(): string[] {
    const partition = this.#lanes.of(this.#random.pick(IDS));
    return IDS.filter((id) => this.#lanes.of(id) === partition);
  }

  /** Each partition deletes its ids as of a stamp of its own. */
  async #deleteRange(
    reach: { readonly prefix: string } | { readonly state: string },
    submit: () => Promise<RangeTicket>,
  ): Promise<RangeTicket> {
    const holds = this.#lanes.keys.map((_, partition) => (id: string) => this.#lanes.of(id) === partition);
    const accepts = holds.map((within) => this.#history.begin({ ...reach, within }, false));
    const ticket = await submit();
    const [kind, value] =
      'prefix' in reach ? ['prefix' as const, reach.prefix] : ['state' as const, reach.state];
    (ticket as SubmittedRange).versions.forEach((stamp, partition) => {
      accepts[partition]?.(stamp);
      const within = holds[partition] as (id: string) => boolean;
      this.#history.ops.push({ v: 1, kind, value, stamp, within });
    });
    return ticket;
  }

  /** Resolves once a write is accepted, with a promise of its settling. */
  async write(): Promise<{ readonly settled: Promise<unknown> }> {
    const dice = this.#random.next();
    const id = this.#random.pick(IDS);
    if (dice < 0.35) return this.#submit(id);
    if (dice < 0.55) return this.#submitMany();
    if (dice < 0.72) return this.#delete(id);
    if (dice < 0.9) return this.#setState(id);
    return dice < 0.95 ? this.#deletePrefix() : this.#deleteByState();
  }

  async read(): Promise<void> {
    const id = this.#random.pick(IDS);
    const dice = this.#random.next();
    if (dice < 0.3) await this.#one(id, 'get', () => this.#store.get(id));
    else if (dice < 0.4) await this.#one(id, 'lookup', async () => (await this.#store.lookup(id)).item);
    else if (dice < 0.5) await this.#contains(id);
    else if (dice < 0.65) {
      const ids = this.#random.shuffle(IDS).slice(0, 5);
      const asked = ids.map((each) => this.#expect(each));
      const items = await this.#store.getMany(ids);
      asked.forEach((expected, i) => this.#judge(expected, items[i], 'getMany'));
    } else if (dice < 0.72) await this.#status(id);
    else if (dice < 0.86) {
      const prefix = this.#random.pick(PREFIXES);
      await this.#many(
        'getByPrefix',
        (each) => each.startsWith(prefix),
        async () => {
          return (await this.#store.getByPrefix(prefix)).items;
        },
      );
    } else if (dice < 0.93) {
      await this.#many(
        'scanPrefix',
        (each) => each.startsWith('a.'),
        () => collect(this.#store.scanPrefix('a.')),
      );
    } else {
      const state = this.#random.pick(STATES);
      await this.#many(
        'getByState',
        () => false,
        async () => (await this.#store.getByState(state)).items,
      );
    }
  }

  async #submit(id: string): Promise<{ settled: Promise<unknown> }> {
    const item = this.#newItem(id);
    const accept = this.#history.begin({ id }, true);
    const ticket = await this.#store.submit(item, this.#submitOptions());
    accept(ticket.version, item.content as number);
    return { settled: this.#submitted(item, ticket) };
  }

  async #submitMany(): Promise<{ settled: Promise<unknown> }> {
    const atomic = this.#random.chance(0.3);
    const among = atomic ? this.#inOnePartition() : IDS;
    const ids = this.#random.shuffle(among).slice(0, this.#random.upTo(5));
    const items = ids.map((id) => this.#newItem(id));
    const accepts = ids.map((id) => this.#history.begin({ id }, true));
    const options = { ...this.#submitOptions(), atomic };
    const { tickets } = await this.#store.submitMany(items, options);
    tickets.forEach((ticket, i) => accepts[i]?.(ticket.version, items[i]?.content as number));
    return {
      settled: Promise.all(tickets.map((ticket, i) => this.#submitted(items[i] as NewItem, ticket))),
    };
  }

  /** What this process wrote, it has seen (I11). */
  async #submitted({ id, content, state }: NewItem, ticket: Ticket): Promise<void> {
    const { version: stamp } = ticket;
    const body = JSON.stringify(content);
    this.#history.ops.push({ id, stamp, kind: 'json', body, ...(state === undefined ? {} : { state }) });
    this.#seen.note(id, stamp, 'submit');
    await ticket.settled();
    await this.#history.settled([id], stamp, true);
  }

  async #delete(id: string): Promise<{ settled: Promise<unknown> }> {
    const accept = this.#history.begin({ id }, false);
    const ticket = await this.#store.delete(id);
    const { version: stamp } = ticket;
    accept(stamp);
    this.#history.ops.push({ id, stamp, kind: 'delete' });
    return { settled: ticket.settled().then(() => this.#history.settled([id], stamp, false)) };
  }

  async #setState(id: string): Promise<{ settled: Promise<unknown> }> {
    const state = this.#random.pick(STATES);
    const ticket = await this.#store.setState(id, state);
    const { version: stamp } = ticket;
    this.#history.ops.push({ id, stamp, kind: 'state', state });
    return { settled: this.#stateSet(id, ticket) };
  }

  async #stateSet(id: string, ticket: Ticket): Promise<void> {
    const { status } = await ticket.settled();
    if (status === 'applied') await this.#history.settled([id], ticket.version, undefined);
  }

  async #deletePrefix(): Promise<{ settled: Promise<unknown> }> {
    const prefix = this.#random.pick(PREFIXES);
    const ticket = await this.#deleteRange({ prefix }, () => this.#store.deletePrefix(prefix));
    const { versions } = ticket as SubmittedRange;
    const ids = IDS.filter((id) => id.startsWith(prefix));
    const settled = async () => {
      await ticket.settled();
      await Promise.all(
        ids.map((id) => this.#history.settled([id], versions[this.#lanes.of(id)] as number, false)),
      );
    };
    return { settled: settled() };
  }

  async #deleteByState(): Promise<{ settled: Promise<unknown> }> {
    const state = this.#random.pick(STATES);
    const ticket = await this.#deleteRange({ state }, () => this.#store.deleteByState(state));
    return { settled: ticket.settled() };
  }

  #newItem(id: string): NewItem {
    const content = this.#history.nextContent();
    return this.#random.chance(0.5) ? { id, content } : { id, content, state: this.#random.pick(STATES) };
  }

  #submitOptions(): SubmitOptions {
    const dice = this.#random.next();
    if (dice < 0.1) return { tiers: 'durable' };
    return dice < 0.2 ? { ttlMs: this.#random.upTo(600) } : {};
  }

  async #one(id: string, how: string, ask: () => Promise<Item | undefined>): Promise<void> {
    const expected = this.#expect(id);
    this.#judge(expected, await ask(), how);
  }

  async #contains(id: string): Promise<void> {
    const expected = this.#expect(id);
    this.#history.judge(expected, (await this.#store.contains(id)) ? true : undefined, 'contains');
  }

  async #status(id: string): Promise<void> {
    const expected = this.#expect(id);
    const status = await this.#store.status(id).catch(unlessUnavailable);
    // A pending version is on its way, and may be newer than what is read.
    if (status !== undefined && status.status !== 'pending') {
      this.#history.judge(expected, status.status === 'synced' ? true : undefined, 'status');
    }
  }

  /** @param whole which ids the answer must hold when they exist */
  async #many(
    how: string,
    whole: (id: string) => boolean,
    ask: () => Promise<readonly Item[]>,
  ): Promise<void> {
    const expected = new Map(IDS.map((id) => [id, this.#expect(id)]));
    const items = new Map((await ask()).map((item) => [item.id, item]));
    for (const [id, each] of expected) {
      const item = items.get(id);
      if (item !== undefined || whole(id)) this.#judge(each, item, how);
    }
  }

  #expect(id: string): Expectation {
    return this.#history.expect(id, this.#store.counters.feed.entries[this.#lanes.of(id)] as number);
  }

  #judge(expected: Expectation, item: Item | undefined, how: string): void {
    this.#history.judge(expected, item, how);
    this.#seen.note(expected.id, item?.version, how);
  }
}

/** "Cannot be asked" is an answer of `status`, which names every tier. */
function unlessUnavailable(error: unknown): undefined {
  if (!(error instanceof TierUnavailableError)) throw error;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
