import { stampToMs } from '../../clock.ts';
import type { StoredItem } from '../../schema/stored-item.ts';
import { bytes, count, duration, time } from '../figures.ts';
import { type Content, fieldValue, type Html, html } from '../html.ts';
import { type ItemFigures, type TierAnswer, tiersAgree } from '../item-figures.ts';
import { type Frame, page } from './layout.ts';

const KINDS = { json: 'JSON', binary: 'binary', deleted: 'deleted', fence: 'not kept here' } as const;
const ONLY = { all: '', durable: ', L3 only', cache: ', L2 only' } as const;
/** A page with more than this of one item's content would be slow to read and to show. */
const SHOWN_CHARACTERS = 20_000;

export interface ItemView {
  readonly id: string;
  readonly problem?: string;
  readonly figures?: ItemFigures;
  readonly payloads: boolean;
}

export function itemPage(frame: Frame, view: ItemView): Html {
  const { id, problem, figures } = view;
  return page(frame, {
    title: id === '' ? 'Item' : `Item ${id}`,
    at: '/item',
    content: html`<h1>Item</h1>
<form class="search" method="get" action="/item" role="search"><label for="id">Id</label>
<input id="id" name="id" type="search" value="${fieldValue(id)}" required autocomplete="off" spellcheck="false"${
      problem !== undefined && html` aria-invalid="true" aria-describedby="problem"`
    }><button class="primary">Look up</button></form>
${problem !== undefined && html`<p class="notice bad" role="alert" id="problem">${problem}</p>`}
${figures !== undefined && found(figures, view.payloads)}`,
  });
}

function found(figures: ItemFigures, payloads: boolean): Html {
  const { l2, l3, pending, history, problems } = figures;
  return html`<h2 class="id"><code>${figures.id}</code></h2>
<p class="pills" role="status">${status(figures)} ${agreement(figures)}</p>
${problems.map((problem) => html`<p class="notice bad">${problem}</p>`)}
${pending !== undefined && html`<p>A write of version <code>${pending}</code> was accepted ${time(stampToMs(pending))} and has not settled.</p>`}
<div class="scroll" tabindex="0" role="region" aria-label="Tier by tier"><table><caption>Tier by tier</caption><thead><tr><th scope="col">Tier</th><th scope="col">Holds</th><th scope="col">Content version</th><th scope="col">State</th><th scope="col">Size</th><th scope="col">Digest</th></tr></thead><tbody>
${tierRow('L2 Redis', l2)}${tierRow('L3 Postgres', l3)}</tbody></table></div>
<p class="dim">L1 lies in the memory of each reading process, which keeps itself current by the change feed.</p>
${payloads && content(l3.state === 'found' ? l3 : l2)}
<h2>On the change feed</h2>${feed(history)}`;
}

function status({ l2, l3, pending, problems }: ItemFigures): Html {
  if (pending !== undefined) return html`<span class="pill warn">pending</span>`;
  if (l3.state === 'unknown' || problems.length > 0) return html`<span class="pill">unknown</span>`;
  return isLive(l2) || isLive(l3)
    ? html`<span class="pill normal">settled</span>`
    : html`<span class="pill">missing</span>`;
}

function isLive(answer: TierAnswer): boolean {
  return answer.state === 'found' && answer.item.kind !== 'deleted' && answer.item.kind !== 'fence';
}

function agreement(figures: ItemFigures): Html {
  const agree = tiersAgree(figures);
  if (agree === undefined) return html`<span class="pill">not comparable</span>`;
  if (agree) return html`<span class="pill normal">tiers agree</span>`;
  // While a write settles, L3 is ahead of L2 for a moment.
  return figures.pending === undefined
    ? html`<span class="pill critical">tiers differ</span>`
    : html`<span class="pill warn">settling</span>`;
}

function tierRow(name: string, answer: TierAnswer): Html {
  if (answer.state === 'absent')
    return html`<tr><th scope="row">${name}</th><td colspan="5" class="dim">nothing</td></tr>`;
  if (answer.state === 'unknown')
    return html`<tr><th scope="row">${name}</th><td colspan="5">cannot be asked: ${answer.why}</td></tr>`;
  const { item, ttlMs } = answer;
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

function content(answer: TierAnswer): Content {
  if (answer.state !== 'found' || answer.item.body === '') return false;
  const { body, kind } = answer.item;
  return html`<details><summary>Content${kind === 'binary' && ' (base64)'}</summary><pre class="scroll" tabindex="0" role="region" aria-label="Content">${body.slice(0, SHOWN_CHARACTERS)}${
    body.length > SHOWN_CHARACTERS && `… and ${count(body.length - SHOWN_CHARACTERS)} characters more`
  }</pre></details>`;
}

function feed(history: ItemFigures['history']): Content {
  if (history === undefined) return html`<p class="dim">The feed cannot be read.</p>`;
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
