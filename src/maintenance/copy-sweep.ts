import { isOlderGeneration } from '../keys.ts';
import type { Logger } from '../log.ts';
import { digestsOfIds } from '../postgres/all-items.ts';
import {
  type CopyFigures,
  type CopyKey,
  type CopyTurn,
  type CopyValue,
  dropKeys,
  endTurn,
  keepCopies,
  keySlots,
  NO_FIGURES,
  noteLost,
  readCopies,
  readTurns,
  saveTurn,
  scanCopies,
} from '../redis/copies.ts';
import { CacheUnknownError } from '../redis/item-store.ts';
import { pendingStamps, rangesInFlight } from '../redis/in-flight.ts';
import { decodeStored } from '../schema/stored-item.ts';
import { decodedCopy, dropCopies, judgeCopy, refreshCopies, type Verdict } from './copy-repair.ts';
import { coverOf, type LostWriteParts, purgedBelow } from './lost-writes.ts';

/** Hears how the sweep goes; it must not throw. */
export interface SweepObserver {
  /** A page of L2 copies was compared with their rows. */
  copiesCompared(figures: CopyFigures): void;
}

export interface SweepParts extends LostWriteParts {
  readonly log: Logger;
  readonly observer: SweepObserver;
}

/** How often the chore runs. */
export const SWEEP_STEP_MS = 1000;
/** Least pause between two steps that somebody waits for. While the cache is away, a step takes no time. */
const LEAST_REST_MS = 50;
/** How many slots of Redis's key table a page visits at most. It finds as many copies when Redis holds nothing else. */
const MAX_PAGE_SLOTS = 300;
/** The next page is smaller after one that takes longer, because folding waits meanwhile. */
const LONG_PAGE_MS = 100;

/**
 * Anti-entropy between L2 and Postgres: walks all L2 copies, compares each with its row, and repairs what differs. The
 * maintenance queue does one thing at a time, so the walk is done in short steps of a few pages each. Its place is kept in the
 * queue's Redis, so another process, or this one after a restart, continues there. A step works for the configured share of a
 * second. Steps do nothing while the walk is ahead of the configured time for a turn.
 */
export class CopySweep {
  readonly #parts: SweepParts;
  /** By `performance.now()`. A long page is followed by a long rest. */
  #restUntil = 0;
  #pageSlots = MAX_PAGE_SLOTS / 10;

  constructor(parts: SweepParts) {
    this.#parts = parts;
  }

  /** The recurring chore: one step, when one is due. */
  async step(): Promise<void> {
    if (performance.now() < this.#restUntil) return;
    // There is nothing to compare while the cache is away, or while its generation is not known.
    if (this.#parts.items.session === undefined) return;
    const turn = await this.#dueTurn();
    if (turn !== undefined) await this.#work(turn);
  }

  /** Begins a turn now, in place of one that is under way. Returns its number. */
  async begin(): Promise<number> {
    const {
      queue,
      lanes: { home: keys },
    } = this.#parts;
    const { current, last } = await readTurns(queue, keys);
    const turn = newTurn((current ?? last)?.number);
    await saveTurn(queue, keys, turn);
    return turn.number;
  }

  /** One step of a turn that somebody waits for. Returns the turn once it has ended, else how long to rest before the next. */
  async hurry(number: number): Promise<CopyTurn | { readonly restMs: number }> {
    const restMs = this.#restUntil - performance.now();
    if (restMs > 0) return { restMs };
    const {
      queue,
      lanes: { home: keys },
    } = this.#parts;
    const { current, last } = await readTurns(queue, keys);
    if (last !== undefined && last.number >= number) return last;
    const ended = await this.#work(current ?? newTurn(last?.number));
    return ended ?? { restMs: Math.max(0, this.#restUntil - performance.now()) };
  }

  async #dueTurn(): Promise<CopyTurn | undefined> {
    const {
      queue,
      cache,
      lanes: { home: keys },
      config,
    } = this.#parts;
    const { current, last } = await readTurns(queue, keys);
    if (current === undefined) {
      const isDue = last === undefined || Date.now() - last.startedMs >= config.copySweepMs;
      return isDue ? newTurn(last?.number) : undefined;
    }
    const walked = current.slots / (await keySlots(cache));
    const elapsed = (Date.now() - current.startedMs) / config.copySweepMs;
    return walked < 1 && walked > elapsed ? undefined : current;
  }

  /** Does pages until the step's time is used up. Returns the turn if it has ended. */
  async #work(from: CopyTurn): Promise<CopyTurn | undefined> {
    const {
      queue,
      lanes: { home: keys },
      config,
    } = this.#parts;
    const share = config.copySweepPercent / 100;
    const started = performance.now();
    let turn = from;
    try {
      do {
        const pageStarted = performance.now();
        turn = await this.#page(turn);
        const pageMs = performance.now() - pageStarted;
        turn = { ...turn, workedMs: turn.workedMs + pageMs };
        this.#pageSlots = Math.ceil(
          Math.min(this.#pageSlots * (pageMs > LONG_PAGE_MS ? 0.5 : 2), MAX_PAGE_SLOTS),
        );
        if (turn.cursor === '0') return await this.#end(turn);
        await saveTurn(queue, keys, turn);
      } while (performance.now() - started < share * SWEEP_STEP_MS);
      return undefined;
    } catch (error) {
      // Another server takes the place of the cache. The walk begins again there.
      if (error instanceof CacheUnknownError) return undefined;
      throw error;
    } finally {
      const worked = performance.now() - started;
      this.#restUntil = performance.now() + Math.max(LEAST_REST_MS, worked / share - worked);
    }
  }

  async #end(turn: CopyTurn): Promise<CopyTurn> {
    const {
      queue,
      lanes: { home: keys },
      log,
    } = this.#parts;
    const ended = { ...turn, endedMs: Date.now() };
    await endTurn(queue, keys, ended);
    log.info(
      {
        turn: ended.number,
        ms: ended.endedMs - ended.startedMs,
        workedMs: Math.round(ended.workedMs),
        ...ended.figures,
      },
      'every L2 copy was compared with its row',
    );
    return ended;
  }

  /** Does the next page and returns the turn after it. */
  async #page(turn: CopyTurn): Promise<CopyTurn> {
    const {
      cache,
      lanes: { home: keys },
      items,
      observer,
    } = this.#parts;
    await items.confirm();
    const { session } = items;
    if (session === undefined) throw new CacheUnknownError();
    const { generation } = session.copies;
    const from = generation === turn.generation ? turn : { ...turn, cursor: '0', slots: 0 };
    const { next, copies } = await scanCopies(cache, keys, from.cursor, this.#pageSlots);
    const inUse = ({ id }: CopyKey) => session.copies.generationOf(id);
    const outdated = copies.filter((copy) => isOlderGeneration(copy.generation, inUse(copy)));
    await dropKeys(cache, outdated);
    let figures = { ...NO_FIGURES, outdated: outdated.length };
    let unlisted = 0;
    // Copies of a newer generation are left to the next turn.
    const current = copies.filter((copy) => copy.generation === inUse(copy));
    for await (const values of readCopies(cache, current)) {
      const found = await this.#compare(values, turn);
      figures = sum(figures, found.figures);
      unlisted += found.unlisted;
    }
    observer.copiesCompared(figures);
    return {
      ...from,
      cursor: next,
      generation,
      slots: from.slots + this.#pageSlots,
      figures: sum(from.figures, figures),
      unlisted: from.unlisted + unlisted,
    };
  }

  async #compare(
    values: readonly CopyValue[],
    turn: CopyTurn,
  ): Promise<{ figures: CopyFigures; unlisted: number }> {
    const verdicts = await this.#judge(values);
    const suspects = values.filter((_, i) => verdicts[i] !== 'same');
    const found = await this.#lookAgain(suspects);
    // Drop them first: the stamps of a corrupt copy could keep the row's copy out, and a deleted one may have no row.
    await dropCopies(this.#parts, [...found.corrupt, ...found.deleted]);
    const repaired = [...found.corrupt, ...found.deleted, ...found.stale];
    await refreshCopies(
      this.#parts,
      repaired.map(({ id }) => id),
    );
    const unlisted = await this.#keepLost(found.newer, turn);
    return {
      figures: {
        ...NO_FIGURES,
        checked: values.length,
        stale: found.stale.length,
        corrupt: found.corrupt.length,
        deleted: found.deleted.length,
        lost: found.newer.length,
        inFlight: found.inFlight.length,
      },
      unlisted,
    };
  }

  async #judge(values: readonly CopyValue[]): Promise<Verdict[]> {
    const { shards, lanes, digester, config } = this.#parts;
    // The copies were read before the rows. A row is committed before its copy is written, so the row cannot be the older one.
    const rows = await digestsOfIds(
      shards,
      lanes,
      values.map(({ id }) => id),
    );
    const horizon = purgedBelow(config);
    return values.map((value) => judgeCopy(decodedCopy(value), rows.get(value.id), digester, horizon));
  }

  /**
   * Judges copies that differed once more, and skips ids that are being written: a copy is written after its row and differs
   * for a moment. A corrupt copy is never the result of a write under way.
   */
  async #lookAgain(
    suspects: readonly CopyValue[],
  ): Promise<Record<Exclude<Verdict, 'same'> | 'inFlight', CopyValue[]>> {
    const found = { stale: [], deleted: [], corrupt: [], newer: [], inFlight: [] } as Record<
      Exclude<Verdict, 'same'> | 'inFlight',
      CopyValue[]
    >;
    if (suspects.length === 0) return found;
    const { cache } = this.#parts;
    const before = await this.#inFlight(suspects);
    for await (const values of readCopies(cache, suspects)) {
      const verdicts = await this.#judge(values);
      const after = await this.#inFlight(values);
      for (const [i, value] of values.entries()) {
        const verdict = verdicts[i] as Verdict;
        if (verdict === 'same') continue;
        if (verdict !== 'corrupt' && (before.has(value.id) || after.has(value.id)))
          found.inFlight.push(value);
        else if (
          verdict === 'newer' &&
          (await coverOf(this.#parts, decodeStored(value.id, value.value as string))) === 'covered'
        ) {
          found.deleted.push(value);
        } else found[verdict].push(value);
      }
    }
    return found;
  }

  /** The ids with a write in flight. All ids of a partition while it has a range delete in flight, because that names none. */
  async #inFlight(values: readonly CopyValue[]): Promise<Set<string>> {
    const { queue, lanes } = this.#parts;
    const found = new Set<string>();
    await lanes.each(
      values.map(({ id }) => id),
      (id) => id,
      async (keys, ids) => {
        const [stamps, ranges] = await Promise.all([
          pendingStamps(queue, keys, ids),
          rangesInFlight(queue, keys),
        ]);
        ids.forEach((id, i) => {
          if (ranges > 0 || stamps[i] !== undefined) found.add(id);
        });
      },
    );
    return found;
  }

  /** @returns how many found no room in the list */
  async #keepLost(lost: readonly CopyValue[], turn: CopyTurn): Promise<number> {
    if (lost.length === 0) return 0;
    const {
      queue,
      cache,
      lanes: { home: keys },
      log,
    } = this.#parts;
    // Keep the copies: nothing else is left of these writes.
    await keepCopies(cache, lost);
    const { fresh, unlisted } = await noteLost(
      queue,
      keys,
      turn.number,
      lost.map(({ id }) => id),
    );
    if (fresh > 0) {
      log.error(
        { lost: fresh },
        'Postgres has lost settled writes that L2 still has: see `tierline copies lost`, then run `tierline copies restore --all`',
      );
    }
    return unlisted;
  }
}

function newTurn(before: number | undefined): CopyTurn {
  return {
    number: (before ?? 0) + 1,
    cursor: '0',
    generation: '',
    slots: 0,
    startedMs: Date.now(),
    workedMs: 0,
    figures: NO_FIGURES,
    unlisted: 0,
  };
}

function sum(a: CopyFigures, b: CopyFigures): CopyFigures {
  return {
    checked: a.checked + b.checked,
    stale: a.stale + b.stale,
    corrupt: a.corrupt + b.corrupt,
    deleted: a.deleted + b.deleted,
    outdated: a.outdated + b.outdated,
    lost: a.lost + b.lost,
    inFlight: a.inFlight + b.inFlight,
  };
}
