import { Digester, hashContent } from '../src/merkle/digest.ts';
import type { Item } from '../src/types/read.ts';
import type { NewItem } from '../src/types/write.ts';

/** What the store must hold of one id; content undefined: deleted. */
interface Expected {
  readonly content: NewItem['content'] | undefined;
  readonly contentVersion: number;
  readonly state: string;
  readonly stateVersion: number;
}

/** One id as some tier has it. */
export interface Found {
  readonly deleted: boolean;
  readonly state: string;
  readonly version: number;
  /** SHA-256 of the content, hex; '' when deleted. */
  readonly contentHash: string;
}

/** What must be in every tier after the writes so far: kept by hand, told of nothing but stamps by the system. */
export class Model {
  readonly #items = new Map<string, Expected>();

  put({ id, content, state }: NewItem, version: number): void {
    const before = this.#items.get(id);
    const register =
      state === undefined
        ? { state: before?.state ?? 'default', stateVersion: before?.stateVersion ?? 0 }
        : { state, stateVersion: version };
    this.#items.set(id, { content, contentVersion: version, ...register });
  }

  /** A delete writes both registers: the state is `default` again. */
  delete(id: string, version: number): void {
    const registers = { contentVersion: version, state: 'default', stateVersion: version };
    this.#items.set(id, { content: undefined, ...registers });
  }

  get ids(): string[] {
    return [...this.#items.keys()];
  }

  isLive(id: string): boolean {
    return this.#items.get(id)?.content !== undefined;
  }

  /** Live items of a prefix and a state; both may be left out. */
  countLive(prefix = '', state?: string): number {
    return [...this.#items].filter(
      ([id, item]) => this.isLive(id) && id.startsWith(prefix) && (state ?? item.state) === item.state,
    ).length;
  }

  /** Digest of all live items, made without the tree. */
  rootDigest(merkleKey: string | undefined): string {
    const digester = new Digester(merkleKey);
    let xor = 0n;
    for (const [id, item] of this.#items) {
      if (!this.isLive(id)) continue;
      xor ^= BigInt(`0x${digester.content(id, item.contentVersion, hashOf(item))}`);
      if (item.stateVersion > 0) xor ^= BigInt(`0x${digester.state(id, item.stateVersion, item.state)}`);
    }
    return xor.toString(16).padStart(32, '0');
  }

  /** Why an item that was read is not what must be there; undefined when it is, to the byte. */
  readProblem(id: string, item: Item | undefined): string | undefined {
    const problem = this.problem(id, item && { ...item, deleted: false });
    if (problem !== undefined || item === undefined) return problem;
    const same = JSON.stringify(item.content) === JSON.stringify(this.#items.get(id)?.content);
    return same ? undefined : `${id}: content differs`;
  }

  /** The same for what a tier keeps. A deleted id may be kept as a tombstone or not at all. */
  problem(id: string, found: Found | undefined): string | undefined {
    const expected = this.#items.get(id);
    if (expected === undefined) return `${id}: was never written`;
    const isThere = found !== undefined && !found.deleted;
    if (!this.isLive(id)) return isThere ? `${id}: should be deleted` : undefined;
    if (!isThere) return `${id}: missing`;
    const version = Math.max(expected.contentVersion, expected.stateVersion);
    if (found.version !== version) return `${id}: version ${found.version}, expected ${version}`;
    if (found.state !== expected.state) return `${id}: state ${found.state}, expected ${expected.state}`;
    return found.contentHash === hashOf(expected) ? undefined : `${id}: content hash differs`;
  }
}

function hashOf({ content }: Expected): string {
  return hashContent(JSON.stringify(content));
}
