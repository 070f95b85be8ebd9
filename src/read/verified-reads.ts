import { CorruptItemError } from '../errors.ts';
import { hashContent } from '../merkle/digest.ts';
import { toItem } from '../schema/live-item.ts';
import { serializeJson } from '../schema/json.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { CopyTier } from '../tiers/copy-tier.ts';
import type { Tier } from '../tiers/tier.ts';
import type { Item, Lookup } from '../types/read.ts';
import type { Floors } from './floors.ts';
import { floorOf, type L1Entry, isBelow } from './l1-entry.ts';

/** How many bad copies are tried before L3 answers: one in L1, one in L2, and those filled in meanwhile. */
const MAX_COPIES = 4;

/** Reads that hash the content and compare. A bad copy is dropped from its tier, and the next read takes the row from L3. */
export class VerifiedReads {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #l2: CopyTier;
  readonly #l3: Tier;
  readonly #lookup: (id: string) => Promise<Lookup>;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    l2: CopyTier,
    l3: Tier,
    lookup: (id: string) => Promise<Lookup>,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#l2 = l2;
    this.#l3 = l3;
    this.#lookup = lookup;
  }

  /** @throws CorruptItemError when it is the row in L3 that does not match its hash */
  async get(id: string): Promise<Item | undefined> {
    for (let copies = 1; ; copies++) {
      const { item, tier } = await this.#lookup(id);
      if (item === undefined || isIntact(item)) return item;
      // The entry becomes a floor: the same version may take its place, an older one may not.
      const entry = this.#l1.peek(id);
      if (entry !== undefined) {
        const { contentVersion, stateVersion } = entry;
        this.#l1.set(id, floorOf({ contentVersion, stateVersion }), 0);
      }
      // JSON that was not written by `serializeJson` reads back as other text with the same meaning: the stored text decides.
      if ((await this.#checkCopy(id)) && tier === 'l2') return item;
      if (tier === 'l3' || copies === MAX_COPIES) {
        const row = await this.#rowOf(id);
        if (row === undefined || row.kind === 'deleted') return undefined;
        if (matchesHash(row)) return toItem(row);
        throw new CorruptItemError(
          `The content of ${JSON.stringify(id)} in Postgres does not match its hash. Restore the row, or submit the item again.`,
        );
      }
    }
  }

  /** The row, not older than what other reads give out meanwhile. */
  async #rowOf(id: string): Promise<StoredItem | undefined> {
    const endReading = this.#floors.beginReading();
    try {
      let [row] = await this.#l3.getMany([id]);
      const floor = this.#floors.of(id);
      if (floor !== undefined && isBelow(row, floor)) [row] = await this.#l3.getMany([id]);
      if (row !== undefined) this.#floors.given(id, row);
      return row;
    } finally {
      endReading();
    }
  }

  /** Whether L2 has a copy that matches its hash. One that does not match is dropped. */
  async #checkCopy(id: string): Promise<boolean> {
    const [copy] = await this.#l2.getMany([id]).catch(() => []);
    if (copy === undefined) return false;
    if (matchesHash(copy)) return true;
    await this.#l2.drop(copy);
    return false;
  }
}

function isIntact(item: Item): boolean {
  return hashContent(bytesOf(item)) === item.contentHash;
}

/** JSON comes from the text that was hashed, and that is the text it is written as; what cannot be parsed has no such text. */
function bytesOf(item: Item): string | Uint8Array {
  try {
    return item.contentType === 'binary'
      ? (item.content as Uint8Array)
      : serializeJson(item.content, Number.MAX_SAFE_INTEGER);
  } catch (error) {
    if (error instanceof CorruptItemError) return '';
    throw error;
  }
}

function matchesHash({ kind, body, contentHash }: StoredItem): boolean {
  return (
    kind === 'deleted' || hashContent(kind === 'binary' ? Buffer.from(body, 'base64') : body) === contentHash
  );
}
