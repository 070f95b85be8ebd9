import { stampToMs } from '../clock.ts';
import { rowsOfIds } from '../postgres/all-items.ts';
import { isLive } from '../read/existence.ts';
import { type FeedHistory, feedHistory } from '../redis/feed-history.ts';
import { pendingStamps } from '../redis/in-flight.ts';
import { parseId } from '../schema/item.ts';
import { decodeStored, type StoredItem } from '../schema/stored-item.ts';
import { type Content, fieldValue, type Frame, type Html, html, page } from './layout.ts';
import { bytes, count, duration, time } from './overview-figures.ts';
import { type Answer, answerOf, type Sources } from './sources.ts';

/** What one tier holds of an id. */
interface Held {
  readonly item: StoredItem;
  readonly ttlMs?: number;
}

/** The answers of the tiers, of the queue and of the change feed about one id. */
export interface ItemAnswers {
  readonly id: string;
  readonly l2: Answer<Held | undefined>;
  readonly l3: Answer<Held | undefined>;
  /** The stamp of a write that has not settled. */
  readonly pending: Answer<number | undefined>;
  readonly history: Answer<FeedHistory>;
}

/** Looks one id up in every tier. @throws InvalidItemError for what cannot be an id */
export async function itemAnswers(sources: Sources, given: string): Promise<ItemAnswers> {
  const id = parseId(given);
  const { queue, lanes } = sources;
  const keys = lanes.keysOf(id);
  const [l2, l3, pending, history] = await Promise.all([
    answerOf(copyOf(sources, id)),
    answerOf(rowOf(sources, id)),
    answerOf(pendingStamps(queue, keys, [id]).then(([stamp]) => stamp)),
    answerOf(feedHistory(queue, keys, id)),
  ]);
  return { id, l2, l3, pending, history };
}

async function copyOf({ items }: Sources, id: string): Promise<Held | undefined> {
  await items.confirm();
  const copy = await items.inspect(id);
  if (copy === undefined) return undefined;
  const { value, ttlMs } = copy;
  return { item: decodeStored(id, value), ...(ttlMs >= 0 && { ttlMs }) };
}

async function rowOf({ shards, lanes }: Sources, id: string): Promise<Held | undefined> {
  const [item] = await rowsOfIds(shards, lanes, [id]);
  return item && { item };
}

const KINDS = { json: 'JSON', binary: 'binary', deleted: 'deleted', fence: 'not kept here' } as const;
const ONLY = { all: '', durable: ', L3 only', cache: ', L2 only' } as const;
/** A page with more than this of one item's content would be slow to read and to show. */
const SHOWN_CHARACTERS = 20_000;

export interface ItemView {
  readonly id: string;
  readonly problem?: string;
  readonly answers?: ItemAnswers;
  readonly payloads: boolean;
}

export function itemPage(frame: Frame, view: ItemView): Html {
  const { id, problem, answers } = view;
  return page(frame, {
    title: id === '' ? 'Item' : `Item ${id}`,
    at: '/item',
    content: html`<h1>Item</h1>
<form class="search" method="get" action="${frame.basePath}/item" role="search"><label for="id">Id</label>
<input id="id" name="id" type="search" value="${fieldValue(id)}" required autocomplete="off" spellcheck="false"${
      problem !== undefined && html` aria-invalid="true" aria-describedby="problem"`
    }><button class="primary">Look up</button></form>
${problem !== undefined && html`<p class="notice bad" role="alert" id="problem">${problem}</p>`}
${answers !== undefined && found(answers, view.payloads)}`,
  });
}

function found(answers: ItemAnswers, payloads: boolean): Html {
  const { id, l2, l3, pending, history } = answers;
  const stamp = pending.ok ? pending.value : undefined;
  return html`<h2 class="id"><code>${id}</code></h2>
<p class="pills" role="status">${status(answers)} ${agreement(answers)}</p>
${[pending, history].map((answer) => !answer.ok && html`<p class="notice bad">${answer.why}</p>`)}
${stamp !== undefined && html`<p>A write of version <code>${stamp}</code> was accepted ${time(stampToMs(stamp))} and has not settled.</p>`}
<div class="scroll" tabindex="0" role="region" aria-label="Tier by tier"><table><caption>Tier by tier</caption><thead><tr><th scope="col">Tier</th><th scope="col">Holds</th><th scope="col">Content version</th><th scope="col">State</th><th scope="col">Size</th><th scope="col">Digest</th></tr></thead><tbody>
${tierRow('L2 Redis', l2)}${tierRow('L3 Postgres', l3)}</tbody></table></div>
<p class="dim">L1 lies in the memory of each reading process, which keeps itself current by the change feed.</p>
${payloads && content(heldBy(l3) ?? heldBy(l2))}
<h2>On the change feed</h2>${feed(history)}`;
}

function heldBy(answer: Answer<Held | undefined>): StoredItem | undefined {
  return answer.ok ? answer.value?.item : undefined;
}

function status({ l2, l3, pending, history }: ItemAnswers): Html {
  if (pending.ok && pending.value !== undefined) return html`<span class="pill warn">pending</span>`;
  if (!l3.ok || !pending.ok || !history.ok) return html`<span class="pill">unknown</span>`;
  return isLive(heldBy(l2)) || isLive(heldBy(l3))
    ? html`<span class="pill normal">settled</span>`
    : html`<span class="pill">missing</span>`;
}

function agreement({ l2, l3, pending }: ItemAnswers): Html {
  if (!l2.ok || !l3.ok) return html`<span class="pill">not comparable</span>`;
  if (tiersAgree(heldBy(l2), heldBy(l3))) return html`<span class="pill normal">tiers agree</span>`;
  // While a write settles, L3 is ahead of L2 for a moment.
  return pending.ok && pending.value !== undefined
    ? html`<span class="pill warn">settling</span>`
    : html`<span class="pill critical">tiers differ</span>`;
}

/** Whether the copy says the same as the row. A missing copy agrees with anything, and so does one that only L2 has to have. */
function tiersAgree(copy: StoredItem | undefined, row: StoredItem | undefined): boolean {
  if (copy === undefined || copy.tiers === 'cache') return true;
  if (row === undefined) return copy.kind === 'deleted';
  return copy.digest === row.digest;
}

function tierRow(name: string, answer: Answer<Held | undefined>): Html {
  if (!answer.ok)
    return html`<tr><th scope="row">${name}</th><td colspan="5">cannot be asked: ${answer.why}</td></tr>`;
  if (answer.value === undefined)
    return html`<tr><th scope="row">${name}</th><td colspan="5" class="dim">nothing</td></tr>`;
  const { item, ttlMs } = answer.value;
  return html`<tr><th scope="row">${name}</th><td>${KINDS[item.kind]}${ONLY[item.tiers]}${
    ttlMs !== undefined && html`<br><span class="dim">expires in ${duration(ttlMs)}</span>`
  }</td><td>${version(item.contentVersion)}</td><td>${item.state}<br>${version(item.stateVersion)}</td><td>${size(item)}</td><td><code class="digest">${item.digest}</code></td></tr>`;
}

function version(stamp: number): Content {
  return stamp === 0
    ? html`<span class="dim">never written</span>`
    : html`<code>${stamp}</code><br><span class="dim">${time(stampToMs(stamp))}</span>`;
}

function size({ kind, body }: StoredItem): string {
  if (kind === 'deleted' || kind === 'fence') return '–';
  return bytes(kind === 'binary' ? Math.floor((body.length * 3) / 4) : Buffer.byteLength(body));
}

function content(item: StoredItem | undefined): Content {
  if (item === undefined || item.body === '') return false;
  const { body, kind } = item;
  return html`<details><summary>Content${kind === 'binary' && ' (base64)'}</summary><pre class="scroll" tabindex="0" role="region" aria-label="Content">${body.slice(0, SHOWN_CHARACTERS)}${
    body.length > SHOWN_CHARACTERS && `… and ${count(body.length - SHOWN_CHARACTERS)} characters more`
  }</pre></details>`;
}

function feed(answer: Answer<FeedHistory>): Content {
  if (!answer.ok) return html`<p class="dim">The feed cannot be read.</p>`;
  const history = answer.value;
  const extent = history.complete
    ? `the feed holds ${count(history.entries)} batches`
    : `the newest ${count(history.entries)} batches were looked at`;
  if (history.mentions.length === 0) return html`<p class="dim">No batch names it; ${extent}.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Batches that name the id"><table><caption>Batches that name it, newest first</caption><thead><tr><th scope="col">Settled</th><th scope="col">Became</th><th scope="col">Content version</th><th scope="col">State version</th><th scope="col">Entry</th></tr></thead><tbody>${history.mentions.map(
    ({ entryId, atMs, kind, contentVersion, stateVersion }) =>
      html`<tr><td>${time(atMs)}</td><td>${kind === 'cacheOnly' ? 'cache only' : kind}</td><td><code>${contentVersion}</code></td><td>${
        stateVersion === 0 ? '–' : html`<code>${stateVersion}</code>`
      }</td><td><code>${entryId}</code></td></tr>`,
  )}</tbody></table></div>
<p class="dim">${sentence(extent)}</p>`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
