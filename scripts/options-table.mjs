// Writes the table of options into README.md from the one place that defines them, so that it cannot drift.
// With --check it only says whether the table is up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { OPTIONS } from '../dist/src/config.js';

const README = new URL('../README.md', import.meta.url);
const BEGIN = '<!-- options -->';
const END = '<!-- /options -->';

function defaultOf({ schema }) {
  const { data } = schema.safeParse(undefined);
  return data === undefined ? '' : `\`${data}\``;
}

const rows = Object.entries(OPTIONS).map(
  ([key, spec]) => `| \`${spec.env}\` | \`${key}\` | ${spec.unit} | ${defaultOf(spec)} | ${spec.doc} |`,
);
const table = ['| variable | option | unit | default | meaning |', '|---|---|---|---|---|', ...rows].join(
  '\n',
);

const readme = readFileSync(README, 'utf8');
const [before, rest] = readme.split(BEGIN);
const after = rest?.split(END)[1];
if (after === undefined) throw new Error(`README.md lacks ${BEGIN} … ${END}`);
const updated = `${before}${BEGIN}\n${table}\n${END}${after}`;

if (process.argv.includes('--check')) {
  if (updated !== readme) {
    console.error(
      'README.md: the options table is not what src/config.ts says. Run: node scripts/options-table.mjs',
    );
    process.exit(1);
  }
} else {
  writeFileSync(README, updated);
}
