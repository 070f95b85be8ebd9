/**
 * Two kinds of chart as SVG, written by hand: libraries for it want a DOM or a canvas. Every colour is readable on a light and on
 * a dark page, because a picture in a README does not know which it is on.
 */
const WIDTH = 760;
const TEXT = '#6e7781';
const COLOURS = ['#3b82f6', '#d97706', '#16a34a', '#a855f7', '#e0457b', '#0e9aa7'];
const OTHERS = '#8b949e';
const LETTER = 6.4;

export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly spread?: readonly [number, number] | undefined;
  /** Drawn in colour. */
  readonly ours: boolean;
}

/** Bars from zero on, each with its value, and with a line from the least to the most of its rounds. Without a bar no chart. */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string | undefined {
  if (bars.length === 0) return undefined;
  const [rowHeight, top] = [30, 44];
  const left = 24 + LETTER * Math.max(...bars.map(({ label }) => label.length));
  const right = WIDTH - 90;
  const bottom = top + rowHeight * bars.length;
  const most = Math.max(...bars.map(({ value, spread }) => spread?.[1] ?? value));
  const x = (value: number) => left + ((right - left) * value) / most;
  const ticks = roundValues(most).map((value) => upright(x(value), top - 6, bottom, formatted(value)));
  const rows = bars.map(({ label, value, spread, ours }, i) => {
    const middle = top + rowHeight * (i + 0.5);
    const [low, high] = spread ?? [value, value];
    return [
      text(left - 8, middle + 4, label, 'end', ours ? 'font-weight="600"' : ''),
      `<rect x="${at(left)}" y="${at(middle - 9)}" width="${at(x(value) - left)}" height="18" rx="2" fill="${ours ? COLOURS[0] : OTHERS}"/>`,
      `<path d="M${at(x(low))} ${at(middle)}H${at(x(high))}" stroke="${TEXT}" stroke-width="3"/>`,
      text(x(high) + 8, middle + 4, formatted(value), 'start', ours ? 'font-weight="600"' : ''),
    ].join('\n');
  });
  return svg(title, bottom + 44, [...ticks, ...rows, text((left + right) / 2, bottom + 36, unit, 'middle')]);
}

export interface Line {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Which of the colours; lines of one colour belong together. */
  readonly colour: number;
  readonly dashed: boolean;
}

/** Lines on two logarithmic axes, each named at its end. Without a point no chart. */
export function lineChart(
  title: string,
  xUnit: string,
  yUnit: string,
  all: readonly Line[],
): string | undefined {
  const lines = all.filter(({ points }) => points.length > 0);
  if (lines.length === 0) return undefined;
  const [top, bottom, left] = [44, 380, 84];
  const right = WIDTH - 24 - LETTER * Math.max(...lines.map(({ label }) => label.length));
  const xs = lines.flatMap(({ points }) => points.map(([x]) => x));
  const ys = lines.flatMap(({ points }) => points.map(([, y]) => y));
  const x = logScale(Math.min(...xs), Math.max(...xs), left, right);
  const y = logScale(Math.min(...ys) / 1.2, Math.max(...ys) * 1.2, bottom, top);
  const ends = apart(
    lines.map((line) => y(line.points.at(-1)?.[1] ?? 1)),
    15,
  );
  return svg(title, bottom + 60, [
    ...[...new Set(xs)].map((value) => upright(x(value), top, bottom, formatted(value))),
    ...decadeValues(Math.min(...ys) / 1.2, Math.max(...ys) * 1.2).flatMap((value) => [
      `<path d="M${left} ${at(y(value))}H${at(right)}" stroke="${TEXT}" stroke-opacity="0.25"/>`,
      text(left - 8, y(value) + 4, formatted(value), 'end'),
    ]),
    ...lines.flatMap(({ label, points, colour, dashed }, i) => [
      `<polyline points="${points.map(([px, py]) => `${at(x(px))},${at(y(py))}`).join(' ')}" fill="none" stroke="${COLOURS[colour]}" stroke-width="2.5"${dashed ? ' stroke-dasharray="6 4"' : ''}/>`,
      ...points.map(
        ([px, py]) => `<circle cx="${at(x(px))}" cy="${at(y(py))}" r="3" fill="${COLOURS[colour]}"/>`,
      ),
      `<text x="${at(right + 8)}" y="${at((ends[i] as number) + 4)}" fill="${COLOURS[colour]}">${label}</text>`,
    ]),
    text((left + right) / 2, bottom + 44, xUnit, 'middle'),
    `<text transform="translate(16 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${yUnit}</text>`,
  ]);
}

function svg(title: string, height: number, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="12.5" fill="${TEXT}">`,
    text(12, 20, title, 'start', 'font-size="15" font-weight="600"'),
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function text(x: number, y: number, words: string, anchor: string, more = ''): string {
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" ${more}>${words}</text>`;
}

/** A line of the grid with its value below. */
function upright(x: number, top: number, bottom: number, words: string): string {
  return `<path d="M${at(x)} ${top}V${bottom}" stroke="${TEXT}" stroke-opacity="0.25"/>\n${text(x, bottom + 18, words, 'middle')}`;
}

function at(place: number): string {
  return place.toFixed(1);
}

function logScale(low: number, high: number, from: number, to: number): (value: number) => number {
  return (value) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low);
}

/** About five round values from 0 up to `most`. */
function roundValues(most: number): number[] {
  const decade = 10 ** Math.floor(Math.log10(most / 4));
  const step = decade * ([1, 2, 5].find((times) => times * decade * 5 >= most) ?? 10);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

/** 1, 2 and 5 of each decade between two values; of a wide range only the decades. */
function decadeValues(low: number, high: number): number[] {
  const steps = high / low > 300 ? [1] : [1, 2, 5];
  const first = Math.floor(Math.log10(low));
  const decades = Array.from(
    { length: Math.ceil(Math.log10(high)) - first + 1 },
    (_, i) => 10 ** (first + i),
  );
  return decades
    .flatMap((decade) => steps.map((times) => times * decade))
    .filter((value) => value >= low && value <= high);
}

/** The same places, moved down where labels would lie on each other. */
function apart(places: readonly number[], least: number): number[] {
  const moved = [...places];
  let last = Number.NEGATIVE_INFINITY;
  for (const i of places.map((_, i) => i).toSorted((a, b) => (places[a] as number) - (places[b] as number))) {
    last = Math.max(places[i] as number, last + least);
    moved[i] = last;
  }
  return moved;
}

/** Three digits, or all before the point. */
export function formatted(value: number): string {
  return value >= 1000
    ? Math.round(value).toLocaleString('en-GB')
    : value.toLocaleString('en-GB', { maximumSignificantDigits: 3 });
}
