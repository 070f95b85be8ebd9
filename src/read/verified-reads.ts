import { UNWRITTEN } from '../clock.ts';
import { CorruptItemError } from '../errors.ts';
import { type Digester, hashContent } from '../merkle/digest.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import { serializeJson } from '../schema/json.ts';
import { toItem } from '../schema/live-item.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { CopyTier } from '../tiers/copy-tier.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Tier } from '../tiers/tier.ts';
import type { Item, Lookup } from '../types/read.ts';
import { isLive } from './existence.ts';
import type { Floors } from './floors.ts';
import { floorOf, isBelow, isNewer, type L1Entry } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';

/** How many bad copies are tried before L3 answers: one in L1, one in L2, and those filled in meanwhile. */
const MAX_COPIES = 4;

/**
 * Reads that hash the content, and make the digest of a copy or row again, and compare. A bad copy is dropped from its tier, and
 * the next read takes the row from L3. L1 keeps no digests: what it holds came from a copy or row as that was when it was read.
 */
export class VerifiedReads {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #l2: CopyTier;
  readonly #l3: Tier;
  readonly #ownWrites: OwnWriteView;
  readonly #lookup: (id: string) => Promise<Lookup>;
  readonly #learnDigester: () => Promise<Digester | undefined>;

  /** @param learnDigester gives none when the reader does not have the key of the store's digests: then only hashes are compared */
  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    l2: CopyTier,
    l3: Tier,
    ownWrites: OwnWriteView,
    lookup: (id: string) => Promise<Lookup>,
    learnDigester: () => Promise<Digester | undefined>,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#l2 = l2;
    this.#l3 = l3;
    this.#ownWrites = ownWrites;
    this.#lookup = lookup;
    this.#learnDigester = learnDigester;
  }

  /** @throws CorruptItemError when it is the row in L3 that does not match its hash or digest */
  async get(id: string): Promise<Item | undefined> {
    const endReading = this.#floors.beginReading();
    try {
      return await this.#verified(id);
    } finally {
      endReading();
    }
  }

  async #verified(id: string): Promise<Item | undefined> {
    for (let copies = 1; ; copies++) {
      const { item, tier } = await this.#lookup(id);
      if (item === undefined) return undefined;
      const isHashed = isIntact(item);
      if (isHashed && (tier === 'l1' || tier === 'pending')) return item;
      if (!isHashed || tier === 'l2') {
        const copy = await this.#soundCopy(id);
        if (!isHashed || copy === undefined) this.#distrust(id);
        // JSON that was not written by `serializeJson` reads back as other text with the same meaning: the stored text decides.
        if (tier === 'l2' && isLive(copy) && this.#isNewest(id, copy)) {
          if (isOf(item, copy)) return item;
          this.#floors.given(id, copy);
          return toItem(copy);
        }
      }
      if (tier === 'l3' || copies >= MAX_COPIES) {
        const row = await this.#rowOf(id);
        const fault = row === undefined ? undefined : faultOf(row, await this.#learnDigester());
        if (fault !== undefined) {
          this.#distrust(id);
          throw new CorruptItemError(
            `The ${fault} of ${JSON.stringify(id)} in Postgres. Restore the row, or submit the item again.`,
          );
        }
        if (this.#isNewest(id, row)) return isLive(row) ? toItem(row) : undefined;
      }
    }
  }

  /** Whether nothing newer was given out while this one was verified: another read may have, or a write of this process. */
  #isNewest(id: string, stored: StoredItem | undefined): boolean {
    const floor = this.#floors.of(id);
    if (floor !== undefined && isBelow(stored, floor)) return false;
    const own = this.#ownWrites.get(id);
    return own === undefined || !isNewer(own, stored);
  }

  /** The entry of L1 becomes a floor: the same version may take its place, an older one may not. */
  #distrust(id: string): void {
    const entry = this.#l1.peek(id);
    if (entry === undefined) return;
    const { contentVersion, stateVersion } = entry;
    this.#l1.set(id, floorOf({ contentVersion, stateVersion }), 0);
  }

  /** The row, not older than what other reads give out meanwhile. */
  async #rowOf(id: string): Promise<StoredItem | undefined> {
    let [row] = await this.#l3.getMany([id]);
    const floor = this.#floors.of(id);
    if (floor !== undefined && isBelow(row, floor)) [row] = await this.#l3.getMany([id]);
    if (row !== undefined) this.#floors.given(id, row);
    return row;
  }

  /** The copy in L2, if it matches its hash and digest. One that does not match is dropped. */
  async #soundCopy(id: string): Promise<StoredItem | undefined> {
    const [copy] = await this.#l2.getMany([id]).catch(() => []);
    if (copy === undefined || faultOf(copy, await this.#learnDigester()) === undefined) return copy;
    await this.#l2.drop(copy);
    return undefined;
  }
}

/** Whether the item was made from this copy, or from one that says the same. */
function isOf({ version, contentHash, state }: Item, copy: StoredItem): boolean {
  const newest = Math.max(copy.contentVersion, copy.stateVersion);
  return version === newest && contentHash === copy.contentHash && state === copy.state;
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

/** What of a copy or row is not as its writer left it, in words. */
function faultOf(stored: StoredItem, digester: Digester | undefined): string | undefined {
  const { kind, body, contentHash, digest, tiers } = stored;
  if (kind === 'deleted') return undefined;
  if (hashContent(kind === 'binary' ? Buffer.from(body, 'base64') : body) !== contentHash) {
    return 'content does not match the hash';
  }
  // An item that lives in L2 only is in no tree.
  if (digester === undefined || tiers === 'cache') return undefined;
  // A state without a stamp is in no digest, so it must be the one that every item has.
  const isState = stored.stateVersion !== UNWRITTEN || stored.state === DEFAULT_STATE;
  if (isState && digester.row(stored) === digest) return undefined;
  return 'content, state or stamps do not match the digest';
}
