import {
  ago,
  bytes,
  count,
  duration,
  type OverviewFigures,
  percent,
  type QueueFigures,
  type SweepFigures,
} from './overview-figures.ts';
import { actionForm, type Content, type Frame, type Html, html, itemLink, page } from './layout.ts';
import type { MoveFigures } from '../postgres/map-changes.ts';
import type { Answer } from './sources.ts';
import { SLOT_MS, type SeriesPoint } from '../redis/history.ts';

const REFRESH_MS = 2000;

export function overviewPage(frame: Frame, figures: OverviewFigures): Html {
  return page(frame, {
    title: 'Overview',
    at: '/',
    refreshMs: REFRESH_MS,
    content: html`<div class="title"><h1>Overview</h1>
<p class="updates"><span data-live="now">As of ${clock(figures.nowMs)}</span> <button type="button" class="quiet" data-pause hidden>Pause updates</button></p></div>
<div data-live="warnings" role="status">${warnings(frame, figures)}</div>
<section aria-labelledby="tiers"><h2 id="tiers">Items</h2><div class="cards" data-live="tiers">${tierCards(figures)}</div></section>
<section aria-labelledby="backlog"><h2 id="backlog">Waiting and in flight</h2><div class="cards" data-live="backlog">${backlogCards(figures)}</div>
<div class="actions" data-live="draining">${draining(frame, figures)}</div></section>
<section aria-labelledby="hour"><h2 id="hour">Throughput and latency, last hour</h2>${plots(frame)}
<details><summary>The same figures as a table, a row a minute</summary><div class="scroll" tabindex="0" role="region" aria-label="Figures of the last hour" data-live="series">${seriesTable(
      figures.queue.ok ? figures.queue.value.series : [],
    )}</div></details></section>
<section aria-labelledby="processes"><h2 id="processes">Processes and upkeep</h2><div class="cards" data-live="processes">${processCards(frame, figures)}</div>
<div class="scroll" tabindex="0" role="region" aria-label="Chores" data-live="chores">${choreTable(figures)}</div></section>`,
  });
}

function clock(ms: number): Html {
  const iso = new Date(ms).toISOString();
  return html`<time datetime="${iso}">${iso.slice(11, 19)} UTC</time>`;
}

/** What somebody should look at; most of the time there is nothing. */
function warnings(frame: Frame, { queue, workers, cache, totals, move }: OverviewFigures): Content {
  const notices: Content[] = [];
  for (const [name, answer] of [
    ['The queue (Redis)', queue],
    ['The cache (Redis)', cache],
    ['Postgres', totals],
  ] as const) {
    if (!answer.ok) notices.push(html`<p class="notice bad">${name} cannot be asked: ${answer.why}</p>`);
  }
  if (queue.ok && queue.value.sweep.lost > 0) notices.push(lostWrites(frame, queue.value.sweep));
  if (move.ok && move.value !== undefined) notices.push(moveNotice(move.value));
  if (queue.ok && queue.value.isPaused) {
    notices.push(html`<p class="notice warn">Draining is paused: writes are accepted but do not settle.</p>`);
  }
  if (workers.ok && workers.value.drain === 0) {
    notices.push(
      html`<p class="notice warn">No drain worker is connected: writes are accepted but do not settle.</p>`,
    );
  }
  if (queue.ok && queue.value.pressure.level !== 'normal') {
    notices.push(
      html`<p class="notice warn">Pressure is ${queue.value.pressure.level}: producers should slow down, or more workers should drain.</p>`,
    );
  }
  return notices;
}

/** A move needs its process until it has switched. Nobody but a person knows whether it is still there. */
function moveNotice({ partition, from, to, step, rowsFrom, rowsTo }: MoveFigures): Html {
  const done = {
    copy: html`${count(rowsTo)} of ${count(rowsFrom)} rows are copied. Its writes wait meanwhile.`,
    switch: html`all rows are copied, and the new shard takes over.`,
    empty: html`it is there, and ${count(rowsFrom)} rows are to be deleted at ${from}.`,
    undo: html`it stays at ${from}, and ${count(rowsTo)} copies are to be deleted at ${to}.`,
  }[step];
  const again = step === 'undo' ? '--undo' : `--to ${to}`;
  return html`<p class="notice warn">Partition ${partition} is being moved from shard ${from} to ${to}: ${done} If nothing goes on, run <code>tierline partitions move ${partition} ${again}</code>.</p>`;
}

/** The alarm of the sweep: only L2 has these writes, so somebody must act. */
function lostWrites(frame: Frame, { lost, lostIds }: SweepFigures): Html {
  const ids = lostIds.map((id, i) => html`${i > 0 && ', '}${itemLink(frame, id, html`<code>${id}</code>`)}`);
  return html`<p class="notice bad">Postgres has lost ${count(lost)} settled ${lost === 1 ? 'write' : 'writes'} that Redis (L2) still has, as after a failover to a replica that lagged. Look at <code>tierline copies lost</code>, then write them back with <code>tierline copies restore --all</code>. ${ids}${lost > lostIds.length && ', …'}</p>`;
}

function tierCards({ nowMs, cache, totals }: OverviewFigures): Content {
  return [
    card('Postgres (L3)', totals, ({ items, itemsByShard }) => [
      count(items),
      itemsByShard.size === 0
        ? 'live items, by the Merkle tree'
        : `live items: ${Array.from(itemsByShard, ([shard, of]) => `${shard} ${count(of)}`).join(', ')}`,
    ]),
    card('Redis (L2)', cache, ({ copies }) =>
      copies === undefined
        ? ['…', 'copies are being counted']
        : [count(copies.copies), html`copies, counted ${ago(copies.atMs, nowMs)}`],
    ),
    card('Redis memory', cache, ({ usedBytes, limitBytes }) => [
      bytes(usedBytes),
      limitBytes === 0 ? 'no limit is set' : `of ${bytes(limitBytes)}`,
    ]),
    html`<div class="card"><h3>Memory (L1)</h3><p class="figure">–</p><p>in each reading process; its <code>/metrics</code> tells</p></div>`,
  ];
}

function backlogCards({ queue }: OverviewFigures): Content {
  return [
    card('Chunks waiting', queue, ({ backlog, delayedJobs, failedJobs }) => [
      count(backlog.chunksWaiting),
      `${count(delayedJobs)} put off, ${count(failedJobs)} failed`,
    ]),
    card('Chunks in work', queue, ({ backlog }) => [
      count(backlog.chunksActive),
      `${count(backlog.chunksInFlight)} not settled in all`,
    ]),
    card('Items pending', queue, ({ backlog }) => [
      count(backlog.pendingItems),
      'ids with an unsettled write',
    ]),
    card('Bytes queued', queue, ({ bytes: queued }) => [
      `${queued.estimated ? '≈ ' : ''}${bytes(queued.bytes)}`,
      queued.estimated ? 'estimated from the first chunks' : 'of chunks in the queue',
    ]),
    card('Oldest pending', queue, ({ backlog }) => [
      duration(backlog.oldestMs),
      backlog.chunksInFlight === 0 ? 'nothing is pending' : 'since it was accepted',
    ]),
    card('Pressure', queue, pressure),
  ];
}

function draining(frame: Frame, { queue }: OverviewFigures): Content {
  if (!queue.ok) return false;
  const { isPaused, failedJobs } = queue.value;
  return [
    isPaused
      ? actionForm(frame, '/draining/resume', 'Resume draining')
      : actionForm(frame, '/draining/pause', 'Pause draining'),
    failedJobs > 0 && actionForm(frame, '/draining/retry', 'Put failed jobs back'),
  ];
}

function pressure({ pressure: { level, ratio } }: QueueFigures): readonly [Content, Content] {
  return [
    html`${percent(ratio)} <span class="pill ${level}">${level}</span>`,
    html`<meter aria-label="Pressure" min="0" max="1" low="0.7" high="0.99" optimum="0" value="${Math.min(1, ratio)}">${percent(ratio)}</meter>`,
  ];
}

function processCards({ basePath }: Frame, { nowMs, queue, workers, totals }: OverviewFigures): Content {
  return [
    card('Drain workers', workers, ({ drain }) => connections(drain)),
    card('Maintenance', workers, ({ maintenance }) => connections(maintenance)),
    card('Last Merkle fold', queue, ({ chores }) => {
      const fold = chores.get('fold');
      const waiting = totals.ok ? `${count(totals.value.merklePending)} batches wait for it` : '';
      return [fold === undefined ? 'never' : ago(fold.atMs, nowMs), waiting];
    }),
    card('L2 against Postgres', queue, ({ sweep }) => sweepCard(sweep, nowMs)),
    card('Dead letters', totals, ({ deadLetters }) => [
      html`<a href="${basePath}/dead-letters">${count(deadLetters)}</a>`,
      deadLetters === 0 ? 'nothing was refused' : 'refused by Postgres',
    ]),
  ];
}

function sweepCard({ current, last, lost }: SweepFigures, nowMs: number): readonly [Content, Content] {
  if (last?.endedMs === undefined) {
    return [
      current === undefined ? '–' : count(current.figures.checked),
      'copies compared, first turn under way',
    ];
  }
  const { checked, stale, corrupt, deleted, outdated } = last.figures;
  const found = `${count(stale)} stale, ${count(corrupt)} corrupt, ${count(deleted)} of deleted items, ${count(outdated)} of an older cache`;
  return [
    lost > 0 ? html`<span class="pill critical">${count(lost)} lost</span>` : count(checked),
    html`copies compared ${ago(last.endedMs, nowMs)}: ${found}`,
  ];
}

function connections(n: number | undefined): readonly [Content, Content] {
  return n === undefined ? ['?', 'the server does not tell'] : [count(n), 'connected'];
}

function choreTable({ nowMs, queue }: OverviewFigures): Content {
  if (!queue.ok || queue.value.chores.size === 0)
    return html`<p class="dim">No maintenance chore has run yet.</p>`;
  return html`<table><caption class="hidden">Maintenance chores</caption><thead><tr><th scope="col">Chore</th><th scope="col">Last run</th><th scope="col" class="number">Took</th><th scope="col">Result</th></tr></thead><tbody>${[
    ...queue.value.chores,
  ]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, run]) =>
        html`<tr><th scope="row">${name}</th><td>${ago(run.atMs, nowMs)}</td><td class="number">${duration(run.ms)}</td><td>${
          run.error === undefined ? 'fine' : html`<span class="pill critical">failed</span> ${run.error}`
        }</td></tr>`,
    )}</tbody></table>`;
}

function card<T>(
  title: string,
  answer: Answer<T>,
  show: (value: T) => readonly [figure: Content, note: Content],
): Html {
  const [figure, note] = answer.ok ? show(answer.value) : ['?', 'cannot be asked'];
  return html`<div class="card"><h3>${title}</h3><p class="figure">${figure}</p><p>${note}</p></div>`;
}

/** What `plots.js` draws: columns, times in seconds; null where nothing settled. */
interface SeriesColumns {
  readonly at: readonly number[];
  readonly perSecond: readonly number[];
  readonly p50: readonly (number | null)[];
  readonly p99: readonly (number | null)[];
}

export function seriesColumns(points: readonly SeriesPoint[]): SeriesColumns {
  return {
    at: points.map(({ atMs }) => atMs / 1000),
    perSecond: points.map(({ items }) => items / (SLOT_MS / 1000)),
    p50: points.map(({ p50Ms }) => p50Ms ?? null),
    p99: points.map(({ p99Ms }) => p99Ms ?? null),
  };
}

/** Empty places that `plots.js` fills. The table below them shows the same figures. */
function plots({ basePath }: Frame): Html {
  return html`<div class="plots">
<figure><figcaption>Items settled a second</figcaption><div class="plot" data-plot="throughput" aria-hidden="true"></div></figure>
<figure><figcaption>Settle latency, median and 99 of 100</figcaption><div class="plot" data-plot="latency" aria-hidden="true"></div></figure>
</div><script type="module" src="${basePath}/assets/plots.js"></script>`;
}

/** Newest first; minutes in which nothing settled are left out. */
function seriesTable(points: readonly SeriesPoint[]): Html {
  const minutes = new Map<number, SeriesPoint[]>();
  for (const point of points) {
    const minute = Math.floor(point.atMs / 60_000);
    minutes.set(minute, [...(minutes.get(minute) ?? []), point]);
  }
  const rows = [...minutes]
    .map(([minute, slots]) => ({
      minute,
      items: slots.reduce((sum, { items }) => sum + items, 0),
      p50: worst(slots.map(({ p50Ms }) => p50Ms)),
      p99: worst(slots.map(({ p99Ms }) => p99Ms)),
    }))
    .filter(({ items }) => items > 0)
    .toReversed();
  if (rows.length === 0) return html`<p class="dim">Nothing settled in the last hour.</p>`;
  return html`<table><caption class="hidden">Figures of the last hour by minute</caption><thead><tr><th scope="col">Minute (UTC)</th><th scope="col" class="number">Items settled</th><th scope="col" class="number">Highest median</th><th scope="col" class="number">Highest 99 of 100</th></tr></thead><tbody>${rows.map(
    ({ minute, items, p50, p99 }) =>
      html`<tr><th scope="row">${new Date(minute * 60_000).toISOString().slice(11, 16)}</th><td class="number">${count(items)}</td><td class="number">${duration(p50)}</td><td class="number">${duration(p99)}</td></tr>`,
  )}</tbody></table>`;
}

function worst(latencies: readonly (number | undefined)[]): number {
  return Math.max(0, ...latencies.map((latency) => latency ?? 0));
}
