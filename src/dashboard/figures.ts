import { type Html, html } from './html.ts';

const COUNT = new Intl.NumberFormat('en');
const ONE_DIGIT = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** 1,234,567 */
export function count(value: number): string {
  return COUNT.format(value);
}

/** 12.5 MiB */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
  return `${ONE_DIGIT.format(value / 1024 ** power)} ${units[power]}`;
}

/** 3 ms, 1.2 s, 4 min, 2.5 h, 3 d */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const [size, unit] = (
    [
      [1000, 's'],
      [60_000, 'min'],
      [3_600_000, 'h'],
      [86_400_000, 'd'],
    ] as const
  ).findLast(([least]) => ms >= least) ?? [1000, 's'];
  return `${ONE_DIGIT.format(ms / size)} ${unit}`;
}

export function percent(ratio: number): string {
  return `${ONE_DIGIT.format(ratio * 100)} %`;
}

/** 2026-11-22 08:15:30 UTC */
export function time(ms: number): Html {
  const iso = isoOf(ms);
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

/** 3 s ago */
export function ago(ms: number, nowMs: number): Html {
  return html`<time datetime="${isoOf(ms)}">${duration(Math.max(0, nowMs - ms))} ago</time>`;
}

/** Stamps come from stored data. One that is too large for a Date must not break the page. */
function isoOf(ms: number): string {
  return new Date(Math.min(Math.max(ms, 0), 8.64e15)).toISOString();
}
