import { type SeriesPoint, SLOT_MS } from '../../redis/history.ts';
import { count, duration } from '../figures.ts';
import { type Html, html } from '../html.ts';

/** What `plots.js` draws: columns, times in seconds; null where nothing settled. */
export interface SeriesColumns {
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

/** Places for the plots, which scripts fill; what they show stands in the table below them. */
export function plots(): Html {
  return html`<div class="plots">
<figure><figcaption>Items settled a second</figcaption><div class="plot" data-plot="throughput" aria-hidden="true"></div></figure>
<figure><figcaption>Settle latency, median and 99 of 100</figcaption><div class="plot" data-plot="latency" aria-hidden="true"></div></figure>
</div><script type="module" src="/assets/plots.js"></script>`;
}

/** Newest first; minutes in which nothing settled are left out. */
export function seriesTable(points: readonly SeriesPoint[]): Html {
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
