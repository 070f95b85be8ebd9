import pLimit, { type LimitFunction } from 'p-limit';
import type { Config } from '../config.ts';
import { TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import type { Flight } from './flight.ts';
import type { Stamps } from './held.ts';
import type { Lander, Route } from './single-flight.ts';

/**
 * A flight whose answer is below its fence goes round again: L2 had the change before the feed told of it, so one more
 * round is enough unless Redis came back older than it was. Then L3's word is final, if the fence has not risen since L3
 * was asked: an id written all the time may have been given out newer meanwhile.
 */
const MAX_ROUNDS = 3;

/** Tells which of these ids have no row, without SQL; says nothing of the others. */
export interface AbsenceProof {
  provenAbsent(ids: readonly string[]): Promise<ReadonlySet<string>>;
}

/** Ids, by what became of them. */
export interface LookupCounts {
  readonly l2Hits: number;
  readonly l2Misses: number;
  readonly l3Hits: number;
  readonly l3Misses: number;
  /** Proven absent by the filter. */
  readonly absent: number;
}

/**
 * Asks L2, then the filter, then L3, in chunks. One limit a tier, around chunks and never around ids: p-limit costs about
 * 5 µs a task, an id in an MGET less than 2. Chunks for L3 are half as large: 1,000 ids by four statements at once took a
 * quarter less time than by two.
 */
export class TierLookup implements Route {
  readonly #l2: RedisTier;
  readonly #l3: PostgresTier;
  readonly #l2Limit: LimitFunction;
  readonly #l3Limit: LimitFunction;
  readonly #absence: AbsenceProof;
  readonly #chunkItems: number;
  readonly #log: Logger;
  readonly #counts = { l2Hits: 0, l2Misses: 0, l3Hits: 0, l3Misses: 0, absent: 0 };

  constructor(l2: RedisTier, l3: PostgresTier, absence: AbsenceProof, config: Config, log: Logger) {
    this.#l2 = l2;
    this.#l3 = l3;
    this.#absence = absence;
    this.#l2Limit = pLimit(config.readConcurrency);
    this.#l3Limit = pLimit(config.readConcurrency);
    this.#chunkItems = config.readChunkItems;
    this.#log = log;
  }

  get counts(): LookupCounts {
    return this.#counts;
  }

  async fly(flights: readonly Flight[], lander: Lander): Promise<void> {
    let open = flights;
    for (let round = 1; open.length > 0; round++) open = await this.#round(open, lander, round >= MAX_ROUNDS);
  }

  /** Returns the flights that need another round. */
  async #round(flights: readonly Flight[], lander: Lander, final: boolean): Promise<Flight[]> {
    const { missing, stale, asked } = await this.#askL2(flights, lander);
    const absent = await this.#absence.provenAbsent(missing.map((flight) => flight.id));
    const unknown =
      absent.size === 0
        ? missing
        : missing.filter((flight) => {
            if (!absent.has(flight.id)) return true;
            if (lander.land(flight, undefined, 'none', false) !== 'landed') return true;
            this.#counts.absent++;
            return false;
          });
    const toFill = new Set(asked ? unknown : []);
    return this.#askL3([...unknown, ...stale], toFill, new Set(stale), lander, final);
  }

  /** What L2 answers lands at once, chunk by chunk. An L2 that cannot be asked answers nothing: it only saves time. */
  async #askL2(flights: readonly Flight[], lander: Lander) {
    const missing: Flight[] = [];
    const stale: Flight[] = [];
    let asked = true;
    await inChunks(flights, this.#chunkItems, this.#l2Limit, async (chunk) => {
      let landed = 0;
      let late = false;
      const arrived = (answers: readonly (StoredItem | undefined)[]) => {
        // After the time limit: L3 is being asked.
        if (late) return;
        for (; landed < answers.length; landed++) {
          const flight = chunk[landed] as Flight;
          const answer = answers[landed];
          this.#counts[answer === undefined ? 'l2Misses' : 'l2Hits']++;
          if (answer === undefined) missing.push(flight);
          else if (lander.land(flight, answer, 'l2', false) === 'stale') stale.push(flight);
        }
      };
      try {
        // Nothing is left by then, unless the tier told of no parts.
        arrived(
          await this.#l2.getMany(
            chunk.map((flight) => flight.id),
            arrived,
          ),
        );
      } catch (error) {
        if (!(error instanceof TierUnavailableError)) throw error;
        this.#log.warn({ err: error }, 'L2 cannot be asked, reading from L3');
        asked = false;
        missing.push(...chunk.slice(landed));
        this.#counts.l2Misses += chunk.length - landed;
        late = true;
      }
    });
    return { missing, stale, asked };
  }

  async #askL3(
    flights: readonly Flight[],
    toFill: ReadonlySet<Flight>,
    toRepair: ReadonlySet<Flight>,
    lander: Lander,
    final: boolean,
  ): Promise<Flight[]> {
    const again: Flight[] = [];
    if (flights.length === 0) return again;
    await inChunks(flights, Math.ceil(this.#chunkItems / 2), this.#l3Limit, async (chunk) => {
      const floors = final ? chunk.map((flight) => lander.floorOf(flight)) : [];
      const look = this.#l2.look();
      let answers: (StoredItem | undefined)[];
      try {
        answers = await this.#l3.getMany(chunk.map((flight) => flight.id));
      } catch (error) {
        for (const flight of chunk) lander.fail(flight, error);
        return;
      }
      const fill: StoredItem[] = [];
      const repair: StoredItem[] = [];
      answers.forEach((answer, i) => {
        const flight = chunk[i] as Flight;
        if (answer === undefined) this.#counts.l3Misses++;
        else this.#counts.l3Hits++;
        const last = final && isSame(lander.floorOf(flight), floors[i] as Stamps);
        if (lander.land(flight, answer, 'l3', last) === 'stale') again.push(flight);
        else if (answer !== undefined && toFill.has(flight)) fill.push(answer);
        else if (answer !== undefined && toRepair.has(flight)) repair.push(answer);
      });
      if (look === undefined) return;
      if (fill.length > 0) this.#l2.backfill(fill, look);
      if (repair.length > 0) void this.#l2.repair(repair, look);
    });
    return again;
  }
}

function isSame(a: Stamps, b: Stamps): boolean {
  return a.contentVersion === b.contentVersion && a.stateVersion === b.stateVersion;
}

async function inChunks<T>(
  items: readonly T[],
  size: number,
  limit: LimitFunction,
  work: (chunk: readonly T[]) => Promise<void>,
): Promise<void> {
  if (items.length <= size) return limit(work, items);
  const chunks = Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
  await Promise.all(chunks.map((chunk) => limit(work, chunk)));
}
