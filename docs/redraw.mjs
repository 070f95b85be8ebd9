// npm run docs: writes what the docs say of the program from the program itself, so that it cannot drift: the table of options
// in README.md, which tests show each invariant, the picture of the architecture, and the figures and pictures of the last whole
// run of the benches. With --check it only says what is old.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { instance } from '@viz-js/viz';
import { costTable, figures, resultsPage } from '../dist/bench/figures.js';
import { peerReads, peerWrites } from '../dist/bench/peers/tables.js';
import { pictures } from '../dist/bench/pictures.js';
import { RESULTS } from '../dist/bench/results.js';
import { OPTIONS } from '../dist/src/options.js';

const root = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');

const optionRows = Object.entries(OPTIONS).map(([key, { env, unit, doc, schema }]) => {
  const { data } = schema.safeParse(undefined);
  return `| \`${env}\` | \`${key}\` | ${unit} | ${data === undefined || Array.isArray(data) ? '' : `\`${data}\``} | ${doc} |`;
});
const options = [
  '| variable | option | unit | default | meaning |',
  '|---|---|---|---|---|',
  ...optionRows,
].join('\n');

/** Paths of the test files in which a title names the invariant. */
const tests = new Map();
for (const path of readdirSync(new URL('test', root), { recursive: true, encoding: 'utf8' }).toSorted(
  byName,
)) {
  if (!path.endsWith('.test.ts')) continue;
  const titles = [...read(`test/${path}`).matchAll(/\btest[\w.]*\(\s*(['"`])(.*?)\1/gs)].map(
    ([, , title]) => title,
  );
  for (const [invariant] of titles.join('\n').matchAll(/\bI\d+\b/g)) {
    tests.set(invariant, (tests.get(invariant) ?? new Set()).add(path.replace('.test.ts', '')));
  }
}
const invariantRows = read('docs/invariants.md')
  .match(/^\| I\d+ \|.*$/gm)
  .map((row) => {
    const [, name, text] = row.split('|').map((cell) => cell.trim());
    return `| ${name} | ${text} | ${[...(tests.get(name) ?? [])].map((path) => `\`${path}\``).join(', ')} |`;
  });
const invariants = ['| | invariant | shown by, in `test/` |', '|---|---|---|', ...invariantRows].join('\n');

const picture = (await instance()).renderString(read('docs/architecture.dot'), { format: 'svg' });

const results = JSON.parse(readFileSync(RESULTS, 'utf8'));
const comparison = between(read('docs/comparison.md'), 'peer-writes', peerWrites(results));
const redrawn = {
  'README.md': between(between(read('README.md'), 'options', options), 'figures', figures(results)),
  'docs/invariants.md': between(read('docs/invariants.md'), 'invariants', invariants),
  'docs/performance.md': between(read('docs/performance.md'), 'costs', costTable(results)),
  'docs/comparison.md': between(comparison, 'peer-reads', peerReads(results)),
  'docs/images/architecture.svg': picture,
  'bench/results/latest.md': resultsPage(results),
  ...Object.fromEntries(pictures(results).map(({ file, svg }) => [`docs/images/${file}`, svg])),
};
for (const [path, text] of Object.entries(redrawn)) {
  if (!process.argv.includes('--check')) writeFileSync(new URL(path, root), text);
  else if (!existsSync(new URL(path, root)) || read(path) !== text) {
    console.error(`${path} is not what the program says. Run: npm run docs`);
    process.exitCode = 1;
  }
}

function byName(a, b) {
  return a < b ? -1 : 1;
}

function between(page, name, text) {
  const [before, rest] = page.split(`<!-- ${name} -->`);
  const after = rest?.split(`<!-- /${name} -->`)[1];
  if (after === undefined) throw new Error(`a page lacks <!-- ${name} --> … <!-- /${name} -->`);
  return `${before}<!-- ${name} -->\n${text}\n<!-- /${name} -->${after}`;
}
