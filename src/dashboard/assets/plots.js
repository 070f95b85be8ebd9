// Draws the last hour. The same figures stand in a table of the page, so the plots are hidden from screen readers.
import uPlot from './uplot.js';

const style = document.createElement('link');
style.rel = 'stylesheet';
style.href = new URL('./uplot.css', import.meta.url).href;
document.head.append(style);

const hhmm = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
const hhmmss = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
const rate = (value) => (value >= 1000 ? `${+(value / 1000).toFixed(1)} k` : `${+value.toFixed(1)}`);
const latency = (ms) => (ms >= 1000 ? `${+(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);
const shown = (format) => (_plot, value) => (value == null ? '–' : format(value));

const KINDS = {
  throughput: {
    columns: ['at', 'perSecond'],
    format: rate,
    series: [{ label: 'items/s', color: '--plot-1', fill: '--plot-1-fill' }],
  },
  latency: {
    columns: ['at', 'p50', 'p99'],
    format: latency,
    series: [
      { label: 'median', color: '--plot-1' },
      { label: '99 of 100', color: '--plot-2', dash: [4, 3] },
    ],
  },
};

const places = [...document.querySelectorAll('[data-plot]')];
const plots = new Map();
let figures;

/** From the first slot in which something settled, but ten minutes at least and the hour at most. */
function spanOf({ at, perSecond }) {
  const end = at.at(-1);
  const first = at[perSecond.findIndex((value) => value > 0)] ?? at[0];
  return [Math.max(at[0], Math.min(first - 30, end - 600)), end];
}

const sizeOf = (place) => ({ width: Math.max(place.clientWidth, 120), height: 200 });

function draw() {
  const colors = getComputedStyle(document.documentElement);
  const color = (name) => colors.getPropertyValue(name).trim();
  const axis = {
    stroke: color('--dim'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
  };
  for (const place of places) {
    const { columns, format, series } = KINDS[place.getAttribute('data-plot')];
    plots.get(place)?.destroy();
    const options = {
      ...sizeOf(place),
      cursor: { y: false, drag: { setScale: false } },
      legend: { live: true },
      scales: {
        x: { range: () => spanOf(figures) },
        y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
      },
      axes: [
        { ...axis, values: (_plot, ticks) => ticks.map(hhmm), space: 70, size: 30 },
        { ...axis, values: (_plot, ticks) => ticks.map(format), size: 62 },
      ],
      series: [
        { label: 'UTC', value: shown(hhmmss) },
        ...series.map(({ label, color: stroke, fill, dash }) => ({
          label,
          stroke: color(stroke),
          width: 2,
          value: shown(format),
          // Where nothing settled the latency has gaps. A single slot between gaps is drawn as a dot.
          points: { show: columns.length > 2, size: 4 },
          ...(fill === undefined ? {} : { fill: color(fill) }),
          ...(dash === undefined ? {} : { dash }),
        })),
      ],
    };
    plots.set(
      place,
      new uPlot(
        options,
        columns.map((column) => figures[column]),
        place,
      ),
    );
  }
}

async function load() {
  const response = await fetch(new URL('../series.json', import.meta.url), { cache: 'no-store' });
  if (!response.ok) return;
  const first = figures === undefined;
  figures = await response.json();
  if (first) return draw();
  for (const [place, plot] of plots) {
    plot.setData(KINDS[place.getAttribute('data-plot')].columns.map((column) => figures[column]));
  }
}

const quietly = () => void load().catch(() => undefined);
document.addEventListener('tierline:refreshed', quietly);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => figures && draw());
const observer = new ResizeObserver(() => {
  for (const [place, plot] of plots) plot.setSize(sizeOf(place));
});
for (const place of places) observer.observe(place);
quietly();
