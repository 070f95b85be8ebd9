import { Digester, hashContent } from '../src/merkle/digest.ts';
import type { Item, JsonValue } from '../src/types.ts';
import type { DemoItem } from './changes.ts';

const DIGEST_DIGITS = 32;

/** What the store must hold of one id. */
export interface Expected {
  /** Undefined: deleted. */
  readonly content: JsonValue | undefined;
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

  put({ id, content, state }: DemoItem, version: number): void {
    const before = this.#items.get(id);
    const register =
      state === undefined
        ? { state: before?.state ?? 'default', stateVersion: before?.stateVersion ?? 0 }
        : { state, stateVersion: version };
    this.#items.set(id, { content, contentVersion: version, ...register });
  }

  /** A delete writes both registers: the state is `default` again. */
  delete(id: string, version: number): void {
    this.#items.set(id, {
      content: undefined,
      contentVersion: version,
      state: 'default',
      stateVersion: version,
    });
  }

  get ids(): string[] {
    return [...this.#items.keys()];
  }

  count(matches: (item: Expected, id: string) => boolean): number {
    let count = 0;
    for (const [id, item] of this.#items) if (matches(item, id)) count++;
    return count;
  }

  /** Count and digest of all live items, made without the tree. */
  root(merkleKey: string | undefined): { readonly count: number; readonly digest: string } {
    const digester = new Digester(merkleKey);
    let xor = 0n;
    for (const [id, item] of this.#items) {
      if (!isLive(item)) continue;
      xor ^= BigInt(`0x${digester.content(id, item.contentVersion, hashOf(item.content))}`);
      if (item.stateVersion > 0) xor ^= BigInt(`0x${digester.state(id, item.stateVersion, item.state)}`);
    }
    return { count: this.count(isLive), digest: xor.toString(16).padStart(DIGEST_DIGITS, '0') };
  }

  /** Why an item that was read is not what must be there; undefined when it is, to the byte. */
  readProblem(id: string, item: Item | undefined): string | undefined {
    const expected = this.#items.get(id);
    if (item === undefined) return this.problem(id, undefined);
    const found = {
      ...item,
      deleted: false,
      contentHash: item.contentHash,
    };
    const problem = this.problem(id, found);
    if (problem !== undefined) return problem;
    return JSON.stringify(item.content) === JSON.stringify(expected?.content)
      ? undefined
      : `${id}: content differs`;
  }

  /** The same for what a tier keeps. A deleted id may be kept as a tombstone or not at all. */
  problem(id: string, found: Found | undefined): string | undefined {
    const expected = this.#items.get(id);
    if (expected === undefined) return `${id}: was never written`;
    if (!isLive(expected))
      return found === undefined || found.deleted ? undefined : `${id}: should be deleted`;
    if (found === undefined || found.deleted) return `${id}: missing`;
    const version = Math.max(expected.contentVersion, expected.stateVersion);
    if (found.version !== version) return `${id}: version ${found.version}, expected ${version}`;
    if (found.state !== expected.state) return `${id}: state ${found.state}, expected ${expected.state}`;
    return found.contentHash === hashOf(expected.content) ? undefined : `${id}: content hash differs`;
  }
}

export function isLive(item: Expected): boolean {
  return item.content !== undefined;
}

function hashOf(content: JsonValue | undefined): string {
  return content === undefined ? '' : hashContent(JSON.stringify(content));
}
