import type { Item } from '../../src/types/read.ts';
import type { MixedOp } from './range-model.ts';

/** What covers an id: it alone, a prefix, or (for a state) perhaps any. */
type Reach =
  | { readonly id: string }
  | (({ readonly prefix: string } | { readonly state: string }) & {
      readonly within: (id: string) => boolean;
    });

interface ContentWrite {
  readonly reach: Reach;
  readonly isLive: boolean;
  /** Undefined until the call has told. */
  stamp: number | undefined;
  acceptedAt: number;
}

/** A write that has settled, and the newest entry of the feed by then. */
interface Settled {
  readonly stamp: number;
  /** Undefined: a write of the state alone. */
  readonly isLive: boolean | undefined;
  readonly entry: number;
  readonly at: number;
}

/** What had settled of an id, and was delivered to the reader, when a read of it began. */
export interface Expectation {
  readonly id: string;
  /** The newest write of its content. */
  readonly content: Settled | undefined;
  /** The newest write of any register. */
  readonly version: number;
}

/**
 * A history of writes as it happens, and what reads may say meanwhile: after a write has settled and the feed has told the
 * reader, no read that begins later may be from before it. Each content written is a number that no other write has.
 */
export class History {
  /** Accepted writes with their stamps. */
  readonly ops: MixedOp[] = [];
  readonly violations: string[] = [];
  readonly #contentWrites: ContentWrite[] = [];
  readonly #writeOfContent = new Map<unknown, ContentWrite>();
  readonly #settled = new Map<string, Settled[]>();
  readonly #feedEntry: (id: string) => Promise<number>;
  #contents = 0;
  #now = 0;

  /** @param feedEntry asks for the number of the newest entry of the id's feed */
  constructor(feedEntry: (id: string) => Promise<number>) {
    this.#feedEntry = feedEntry;
  }

  nextContent(): number {
    return ++this.#contents;
  }

  /** Call it before a write of contents; the returned function takes its stamp once it is accepted. */
  begin(reach: Reach, isLive: boolean): (stamp: number, content?: number) => void {
    const write: ContentWrite = { reach, isLive, stamp: undefined, acceptedAt: 0 };
    this.#contentWrites.push(write);
    return (stamp, content) => {
      write.stamp = stamp;
      write.acceptedAt = ++this.#now;
      if (content !== undefined) this.#writeOfContent.set(content, write);
    };
  }

  /** @param isLive undefined: a write of the state alone */
  async settled(ids: Iterable<string>, stamp: number, isLive: boolean | undefined): Promise<void> {
    const at = ++this.#now;
    for (const id of ids) {
      const entry = await this.#feedEntry(id);
      const known = this.#settled.get(id) ?? [];
      known.push({ stamp, isLive, entry, at });
      this.#settled.set(id, known);
    }
  }

  /** @param entry the newest entry of the feed that was delivered to the reader */
  expect(id: string, entry: number): Expectation {
    const told = (this.#settled.get(id) ?? []).filter((each) => each.entry <= entry);
    const contents = told.filter(({ isLive }) => isLive !== undefined);
    return {
      id,
      content: contents.toSorted((a, b) => a.stamp - b.stamp).at(-1),
      version: Math.max(0, ...told.map(({ stamp }) => stamp)),
    };
  }

  /** @param item what the read gave; `true`: it said only that there is one */
  judge({ id, content, version }: Expectation, item: Item | true | undefined, how: string): void {
    const after = content?.stamp ?? 0;
    if (item === undefined) {
      if (content?.isLive === true && !this.#mayBe(id, false, content)) {
        this.violations.push(`${how}: ${id} is absent, written at ${after} and settled`);
      }
      return;
    }
    if (content?.isLive === false && !this.#mayBe(id, true, content)) {
      this.violations.push(`${how}: ${id} is there, deleted at ${after} and settled`);
    }
    if (item === true) return;
    const write = this.#writeOfContent.get(item.content);
    if (write?.stamp !== undefined && write.stamp < after) {
      if (!isOver(write, content)) return;
      this.violations.push(`${how}: ${id} has the content of ${write.stamp}, ${after} has settled`);
    }
    if (item.version < version) {
      this.violations.push(`${how}: ${id} has version ${item.version}, ${version} has settled`);
    }
  }

  /** Whether another write, settled or on its way, may have made the id present or absent. */
  #mayBe(id: string, isLive: boolean, settled: Settled): boolean {
    return this.#contentWrites.some(
      (write) => write.isLive === isLive && !isOver(write, settled) && reaches(write.reach, id),
    );
  }
}

/** An older write that was accepted after the newer one had settled is given out by its own process until it settles too. */
function isOver({ stamp, acceptedAt }: ContentWrite, settled: Settled | undefined): boolean {
  return stamp !== undefined && settled !== undefined && stamp < settled.stamp && acceptedAt < settled.at;
}

function reaches(reach: Reach, id: string): boolean {
  if ('id' in reach) return reach.id === id;
  return reach.within(id) && ('state' in reach || id.startsWith(reach.prefix));
}
