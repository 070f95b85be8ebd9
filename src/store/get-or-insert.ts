import type { Stamp } from '../clock.ts';

import { hashContent, ZERO_DIGEST } from '../merkle/digest.ts';
import { abortable } from '../abortable.ts';
import type { CallGate } from '../call-gate.ts';
import { InvalidItemError } from '../errors.ts';
import { DEFAULT_STATE, parseNewItem, type SerializedItem } from '../schema/item.ts';
import { insertOptionsOf } from '../schema/options.ts';
import { toItem } from '../schema/live-item.ts';
import type { InsertOptions, Item, Reader } from '../types/read.ts';
import type { NewItem, Producer } from '../types/write.ts';

type Content = NewItem['content'];

/** Makes items that do not exist: one factory call per id at a time, which all who ask meanwhile share. */
export class GetOrInsert {
  readonly #producer: Pick<Producer, 'submit'>;
  readonly #reader: Pick<Reader, 'get'>;
  readonly #maxContentBytes: number;
  readonly #gate: CallGate;
  readonly #making = new Map<string, Promise<Item>>();

  constructor(
    producer: Pick<Producer, 'submit'>,
    reader: Pick<Reader, 'get'>,
    { maxContentBytes }: { readonly maxContentBytes: number },
    gate: CallGate,
  ) {
    this.#gate = gate;
    this.#producer = producer;
    this.#reader = reader;
    this.#maxContentBytes = maxContentBytes;
  }

  /** @throws what `get`, the factory or `submit` throws, to all who wait; nothing is written when the read failed */
  async run(id: string, factory: () => Promise<Content> | Content, options?: InsertOptions): Promise<Item> {
    const { state, signal } = this.#gate.admit(insertOptionsOf, options);
    if (typeof factory !== 'function') throw new InvalidItemError('factory', 'must be a function');
    let making = this.#making.get(id);
    if (making === undefined) {
      making = this.#make(id, factory, state).finally(() => this.#making.delete(id));
      this.#making.set(id, making);
    }
    return abortable(making, signal);
  }

  async #make(
    id: string,
    factory: () => Promise<Content> | Content,
    state: string | undefined,
  ): Promise<Item> {
    const found = await this.#reader.get(id);
    if (found !== undefined) return found;
    const given: NewItem = { id, content: await factory(), ...(state === undefined ? {} : { state }) };
    // Read once, before `submit`: the factory may go on changing what it returned.
    const made = parseNewItem(given, this.#maxContentBytes);
    const { version } = await this.#producer.submit({ ...given, content: contentOf(made) });
    // What stands now: the write just accepted, or a newer one. Nothing when a later delete has settled already.
    return (await this.#reader.get(id)) ?? asWritten(made, version);
  }
}

function contentOf({ kind, body }: SerializedItem): Content {
  return kind === 'json' ? (JSON.parse(body) as Content) : Buffer.from(body, 'base64');
}

function asWritten(made: SerializedItem, version: Stamp): Item {
  const { id, kind, body, state } = made;
  return toItem({
    id,
    kind,
    contentVersion: version,
    stateVersion: state === undefined ? 0 : version,
    tiers: 'all',
    digest: ZERO_DIGEST,
    contentHash: hashContent(kind === 'json' ? body : Buffer.from(body, 'base64')),
    state: state ?? DEFAULT_STATE,
    body,
  });
}
