import { childrenOfAll, prefixOfAll, rootOfAll } from '../postgres/all-nodes.ts';
import { selectAllIds } from '../postgres/all-items.ts';
import { startingWith } from '../postgres/read-items.ts';
import type { MerkleChild, MerkleNode } from '../types/merkle.ts';
import { VERIFY_STEPS } from '../postgres/merkle-verify.ts';
import { VERIFY_JOB, verifyProgressSchema, verifyResultSchema } from '../maintenance/on-demand.ts';
import { count, duration, percent, time } from './overview-figures.ts';
import {
  actionForm,
  type Content,
  fieldValue,
  type Frame,
  type Html,
  html,
  itemLink,
  page,
} from './layout.ts';
import { isUnderWay, type RequestedJob, requestedJobs } from './requested-jobs.ts';

import type { Sources } from './sources.ts';

export interface MerkleFigures {
  readonly root: MerkleNode;
  readonly path: string;
  readonly node: MerkleNode;
  readonly children: readonly MerkleChild[];
  /** Where the next page of children begins. */
  readonly next: string | undefined;
  /** Some ids below the path. */
  readonly ids: readonly string[];
  readonly moreIds: boolean;
  readonly verifications: readonly RequestedJob[];
}

const CHILDREN = 50;
const IDS = 20;
const JOBS = 5;

/** @throws TierUnavailableError, SchemaMissingError */
export async function merkleFigures(
  { shards, maintenance }: Sources,
  path: string,
  after: string,
): Promise<MerkleFigures> {
  const [root, node, { children, next }, ids, verifications] = await Promise.all([
    rootOfAll(shards),
    path === '' ? rootOfAll(shards) : prefixOfAll(shards, path),
    childrenOfAll(shards, path, after, CHILDREN),
    path === '' ? { rows: [], more: false } : selectAllIds(shards, startingWith(`${path}.`), '', IDS),
    requestedJobs(maintenance, VERIFY_JOB, JOBS),
  ]);
  return { root, path, node, children, next, ids: ids.rows, moreIds: ids.more, verifications };
}

const REFRESH_MS = 1000;

export function merklePage(frame: Frame, figures: MerkleFigures): Html {
  const { root, verifications } = figures;
  return page(frame, {
    title: figures.path === '' ? 'Merkle' : `Merkle ${figures.path}`,
    at: '/merkle',
    refreshMs: REFRESH_MS,
    content: html`<h1>Merkle tree</h1>
<div class="cards" data-live="root"><div class="card"><h3>Live items</h3><p class="figure">${count(root.count)}</p><p>folded and waiting</p></div>
<div class="card wide"><h3>Root</h3><p class="figure small"><code class="digest">${root.digest}</code></p><p>equal roots mean equal items</p></div></div>
<section aria-labelledby="verify"><h2 id="verify">Verification</h2>
<p>Compares the tree with the stored digests of all rows; contents are not hashed. Chores go on meanwhile.</p>
${actionForm(frame, '/merkle/verify', 'Verify now')}
<div data-live="verifications" role="status">${
      verifications.length === 0
        ? html`<p class="dim">None has been asked for lately.</p>`
        : html`<ul class="runs">${verifications.map(verification)}</ul>`
    }</div></section>
<section aria-labelledby="prefixes"><h2 id="prefixes">Prefixes</h2>
${crumbs(frame, figures.path)}
<form class="search" method="get" action="${frame.basePath}/merkle"><label for="path">Prefix</label><input id="path" name="path" value="${fieldValue(figures.path)}" autocomplete="off" spellcheck="false"><button>Go</button></form>
<div data-live="node">${node(frame, figures)}</div></section>`,
  });
}

function verification(job: RequestedJob): Html {
  if (job.state === 'failed') {
    return html`<li>${when(job)}<span class="pill critical">failed</span> ${job.failure}</li>`;
  }
  if (isUnderWay(job)) {
    const { done, of, rows } = verifyProgressSchema.safeParse(job.progress).data ?? {
      done: 0,
      of: VERIFY_STEPS,
      rows: 0,
    };
    return html`<li>${when(job)}<progress aria-label="Progress of the verification" max="${of}" value="${done}">${percent(done / of)}</progress> ${percent(done / of)}, ${count(rows)} rows${job.state === 'waiting' && ', waiting for maintenance'}</li>`;
  }
  const result = verifyResultSchema.safeParse(job.result).data;
  if (result === undefined) return html`<li>${when(job)}ended without a result</li>`;
  return html`<li>${when(job)}${
    result.ok ? html`<span class="pill normal">true</span>` : html`<span class="pill critical">differs</span>`
  } ${count(result.rows)} rows in ${duration(result.ms)}${!result.ok && differences(result.differences)}</li>`;
}

function when({ requestedMs }: RequestedJob): Html {
  return html`<span class="when">${time(requestedMs)}</span> `;
}

function differences(
  found: readonly {
    readonly kind: string;
    readonly node: string;
    readonly rows: number;
    readonly tree: number;
  }[],
): Html {
  return html`<details><summary>${count(found.length)} places differ</summary><ul>${found.map(
    ({ kind, node: place, rows, tree }) =>
      html`<li>${kind} <code>${place === '' ? '(root)' : place}</code>: ${count(rows)} by the rows, ${count(tree)} by the tree</li>`,
  )}</ul></details>`;
}

function crumbs(frame: Frame, path: string): Html {
  const parts = path === '' ? [] : path.split('.');
  return html`<nav aria-label="Prefix"><ol class="crumbs"><li><a href="${frame.basePath}/merkle"${path === '' && html` aria-current="page"`}>all</a></li>${parts.map(
    (part, i) =>
      html`<li><a href="${linkTo(frame, parts.slice(0, i + 1).join('.'))}"${i === parts.length - 1 && html` aria-current="page"`}>${part === '' ? '(empty)' : part}</a></li>`,
  )}</ol></nav>`;
}

function node(frame: Frame, { path, node: own, children, next, ids, moreIds }: MerkleFigures): Html {
  return html`<p><b>${count(own.count)}</b> items below ${path === '' ? 'the root' : html`<code>${path}</code>`}, digest <code class="digest">${own.digest}</code></p>
${
  children.length > 0 &&
  html`<div class="scroll" tabindex="0" role="region" aria-label="Prefixes one level below"><table><caption>One level below</caption><thead><tr><th scope="col">Prefix</th><th scope="col" class="number">Items</th><th scope="col">Digest</th></tr></thead><tbody>${children.map(
    (child) =>
      html`<tr><th scope="row"><a href="${linkTo(frame, child.path)}">${child.path}</a></th><td class="number">${count(child.count)}</td><td><code class="digest">${child.digest}</code></td></tr>`,
  )}</tbody></table></div>`
}
${next !== undefined && html`<p><a href="${linkTo(frame, path)}&amp;after=${encodeURIComponent(next)}">More prefixes</a></p>`}
${itemsBelow(frame, ids, moreIds)}`;
}

function itemsBelow(frame: Frame, ids: readonly string[], more: boolean): Content {
  if (ids.length === 0) return false;
  return html`<h3>Items below it${more && ', the first of them'}</h3><ul class="ids">${ids.map(
    (id) => html`<li>${itemLink(frame, id, id)}</li>`,
  )}</ul>`;
}

function linkTo({ basePath }: Frame, path: string): string {
  return `${basePath}/merkle?path=${encodeURIComponent(path)}`;
}
