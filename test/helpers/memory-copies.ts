import { keysOf } from '../../src/keys.ts';
import type { CopyFate } from '../../src/redis/item-store.ts';
import type { StoredEntry } from '../../src/redis/stored-entry.ts';
import {
  type ContentValue,
  isNewerContent,
  isNewerState,
  type StateValue,
} from '../../src/schema/register-order.ts';
import { decodeStored, STORED_HEAD_CHARS } from '../../src/schema/stored-item.ts';
import type { CopyStore, Look } from '../../src/tiers/tier.ts';

interface MemoryLook extends Look {
  readonly epoch: number;
}

/** Characters of a stored text that hold both stamps. */
const stampsOf = (text: string) => text.slice(2, 34);

/** Whether a copy is newer than another: by both stamps, and of equal ones by the values. */
function isNewer(id: string, value: string, other: string): boolean {
  if (stampsOf(value) !== stampsOf(other)) return stampsOf(value) > stampsOf(other);
  const registersOf = (text: string): ContentValue & StateValue => {
    const { kind, contentVersion, contentHash, stateVersion, state } = decodeStored(id, text);
    return { contentVersion, deleted: kind === 'deleted', contentHash, stateVersion, state };
  };
  const [a, b] = [registersOf(value), registersOf(other)];
  return isNewerContent(a, b) || (!isNewerContent(b, a) && isNewerState(a, b));
}

/** Another engine of L2: a map. It shows that `CopyStore` is all that the other tiers and the writers need of Redis. */
export class MemoryCopies implements CopyStore {
  readonly session = { copies: keysOf('memory').copies('1') };
  readonly #values = new Map<string, string>();
  #epoch = 0;
  #answers: Promise<void> = Promise.resolve();

  /** Answers nothing from now on. */
  freeze(): void {
    this.#answers = new Promise(() => undefined);
  }

  /** Answers with an error from now on. */
  refuse(): void {
    this.#answers = Promise.reject(new Error('refused'));
    this.#answers.catch(() => undefined);
  }

  open(): void {
    this.#answers = Promise.resolve();
  }

  look(): MemoryLook {
    return { at: Date.now(), epoch: this.#epoch };
  }

  isFresh(look: MemoryLook): boolean {
    return look.epoch === this.#epoch;
  }

  confirm(): Promise<void> {
    return this.#answers;
  }

  getParts(ids: readonly string[]): Promise<(string | null)[]>[] {
    return [this.#answers.then(() => ids.map((id) => this.#values.get(id) ?? null))];
  }

  async getHeads(ids: readonly string[]): Promise<string[]> {
    await this.#answers;
    return ids.map((id) => this.#values.get(id)?.slice(0, STORED_HEAD_CHARS) ?? '');
  }

  async inspect(id: string): Promise<{ value: string; ttlMs: number } | undefined> {
    await this.#answers;
    const value = this.#values.get(id);
    return value === undefined ? undefined : { value, ttlMs: -1 };
  }

  async setNewer(entries: readonly StoredEntry[], look: MemoryLook | undefined): Promise<CopyFate[]> {
    await this.#answers;
    return entries.map(({ id, value }) => {
      if (look === undefined || !this.isFresh(look)) return 'late';
      const stored = this.#values.get(id);
      if (stored !== undefined && isNewer(id, stored, value)) return 'newer';
      this.#values.set(id, value);
      return 'stored';
    });
  }

  async drop(ids: readonly string[]): Promise<void> {
    await this.#answers;
    this.#epoch++;
    for (const id of ids) this.#values.delete(id);
  }

  async dropCopy(id: string, value: string): Promise<void> {
    await this.#answers;
    if (this.#values.get(id) === value) this.#values.delete(id);
  }
}
