import type { Stamp } from '../clock.ts';

import { hashContent, ZERO_DIGEST } from '../merkle/digest.ts';
import { abortable } from '../abortable.ts';
import { parseNewItem, DEFAULT_STATE } from '../schema/item.ts';
import { toItem } from '../schema/live-item.ts';
import type { InsertOptions, Item, NewItem, Producer, Reader } from '../types.ts';

type Content = NewItem['content'];

/** Makes items that do not exist: one factory call per id at a time, which all who ask meanwhile share. */
export class GetOrInsert {
  readonly #producer: Pick<Producer, 'submit'>;
  readonly #reader: Pick<Reader, 'get'>;
  readonly #maxContentBytes: number;
  readonly #making = new Map<string, Promise<Item>>();

  constructor(
    producer: Pick<Producer, 'submit'>,
    reader: Pick<Reader, 'get'>,
    { maxContentBytes }: { readonly maxContentBytes: number },
  ) {
    this.#producer = producer;
    this.#reader = reader;
    this.#maxContentBytes = maxContentBytes;
  }

  /** @throws what `get`, the factory or `submit` throws, to all who wait; nothing is written when the read failed */
  run(id: string, factory: () => Promise<Content> | Content, options: InsertOptions = {}): Promise<Item> {
    if (options.signal?.aborted === true) return Promise.reject(options.signal.reason as Error);
    let making = this.#making.get(id);
    if (making === undefined) {
      making = this.#make(id, factory, options).finally(() => this.#making.delete(id));
      this.#making.set(id, making);
    }
    return abortable(making, options.signal);
  }

  async #make(
    id: string,
    factory: () => Promise<Content> | Content,
    { state }: InsertOptions,
  ): Promise<Item> {
    const found = await this.#reader.get(id);
    if (found !== undefined) return found;
    const item: NewItem = { id, content: await factory(), ...(state === undefined ? {} : { state }) };
    // Read before `submit` and not after: the factory may go on changing what it returned.
    const made = parseNewItem(item, this.#maxContentBytes);
    const { version } = await this.#producer.submit(item);
    // What stands now: the write just accepted, or a newer one. Nothing when a later delete has settled already.
    return (await this.#reader.get(id)) ?? asWritten(made, version);
  }
}

function asWritten({ id, kind, body, raw, state }: ReturnType<typeof parseNewItem>, version: Stamp): Item {
  return toItem({
    id,
    kind: kind === 'json' ? 'j' : 'b',
    contentVersion: version,
    stateVersion: state === undefined ? 0 : version,
    origin: 'r',
    digest: ZERO_DIGEST,
    contentHash: hashContent(raw),
    state: state ?? DEFAULT_STATE,
    body,
  });
}
