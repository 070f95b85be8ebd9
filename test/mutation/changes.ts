/** One change of one place in a file. */
export interface Change {
  /** From 1. */
  readonly line: number;
  readonly from: string;
  readonly to: string;
  /** The whole file with the change. */
  readonly text: string;
}

/** What a slip of the hand does: of JavaScript, of SQL inside it, and of Lua. Each pair is tried in both directions. */
const SWAPS: readonly (readonly [string, string])[] = [
  [' < ', ' <= '],
  [' > ', ' >= '],
  [' === ', ' !== '],
  [' == ', ' ~= '],
  [' && ', ' || '],
  [' AND ', ' OR '],
  [' and ', ' or '],
  [' + ', ' - '],
  [' ^ ', ' & '],
  [' # ', ' & '],
  ['greatest(', 'least('],
  ['Math.max(', 'Math.min('],
  ['true', 'false'],
];
/** A negation that is forgotten. */
const NEGATIONS = ['NOT ', 'not ', '!'];
const SLIPS = [
  ...SWAPS.flatMap(([a, b]) => [
    [a, b],
    [b, a],
  ]),
  ...NEGATIONS.map((negation) => [negation, '']),
] as [string, string][];

/** All changes of a file, one at a time. Comments, messages of errors and logs stay as they are. */
export function changesOf(source: string): Change[] {
  const lines = source.split('\n');
  return lines.flatMap((line, i) =>
    isText(line)
      ? []
      : SLIPS.flatMap(([from, to]) => [...swapped(line, from, to)]).map(
          (to): Change => ({ line: i + 1, from: line, to, text: lines.with(i, to).join('\n') }),
        ),
  );
}

/** The line with one place changed, for each place. */
function* swapped(line: string, from: string, to: string): Generator<string> {
  for (let at = line.indexOf(from); at >= 0; at = line.indexOf(from, at + from.length)) {
    yield line.slice(0, at) + to + line.slice(at + from.length);
  }
}

function isText(line: string): boolean {
  return /^\s*(\/\/|\/?\*|--|(throw|return) new \w*Error|this\.#log\.)/.test(line);
}
