import { createLogger } from '../src/log.ts';
import { connectReader } from '../src/read/open-reader.ts';
import { prefixRange } from '../src/schema/item.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import type { GrowingTable } from './growing-table.ts';
import { type Emit, timed } from './metric.ts';
import { figure, inRounds } from './rounds.ts';

const ROUNDS = 3;
const IDS = 5000;
const CALL = 500;
const PAGE = 100;
/** Each begins the ids of 11 documents in a thousand: of ten thousand enough for a page. */
const PREFIXES = Array.from({ length: 20 }, (_, i) => `doc.${10 + 4 * i}`);

const ROW = 'SELECT id, content, content_version, state FROM items WHERE';
const SUM = 'SELECT count(*), bit_xor(digest_hi), bit_xor(digest_lo) FROM items WHERE NOT deleted';
const IN_RANGE = 'id >= $1 AND id < $2 AND NOT deleted';

/** Reads that find nothing in L1 and L2, lists, counts and the hash tree, beside a plain statement for the same answer. */
export async function growthOfReads(
  emit: Emit,
  { config, pool, cache, keys }: Deployment,
  table: GrowingTable,
  at: string,
): Promise<void> {
  const reader = await connectReader(
    { ...config, l1MaxBytes: 0, filterMaxBytes: 0 },
    createLogger('bench', 'silent'),
  );
  const ask = (name: string, text: string, values: unknown[] = []) =>
    pool.query({ name: `bench-${name}`, text, values });
  const askRange = (name: string, text: string, prefix: string) => {
    const { from, to } = prefixRange(prefix);
    return ask(name, text, [from, to]);
  };
  try {
    const ids = table.choose(IDS).map(({ id }) => id);
    const perId = await inRounds(
      {
        ours: async () => {
          await cache.del(ids.map((id) => keys.item(id)));
          return msEach(partsOf(ids), (part) => reader.getMany(part));
        },
        plain: () => msEach(partsOf(ids), (part) => ask('any', `${ROW} id = ANY($1)`, [part])),
      },
      ROUNDS,
    );
    const perSecond = (ms: number) => (CALL * 1000) / ms;
    emit(
      `get_many_l3_per_s_${at}`,
      figure(perId, ({ ours }) => perSecond(ours)),
      '1/s',
    );
    emit(
      `plain_any_per_s_${at}`,
      figure(perId, ({ plain }) => perSecond(plain)),
      '1/s',
    );
    emit(
      `get_many_ratio_${at}`,
      figure(perId, ({ ours, plain }) => plain / ours),
      'ratio',
    );

    const { merkle } = reader;
    const asked = {
      page: () => msEach(PREFIXES, (prefix) => reader.getByPrefix(prefix, { limit: PAGE })),
      plain_page: () =>
        msEach(PREFIXES, (prefix) =>
          askRange('page', `${ROW} ${IN_RANGE} ORDER BY id LIMIT ${PAGE}`, prefix),
        ),
      count: () => timed(() => reader.countPrefix('doc.')),
      plain_count: () =>
        timed(() => askRange('count', `SELECT count(*) FROM items WHERE ${IN_RANGE}`, 'doc.')),
      root: () => msEach(PREFIXES, () => merkle.root()),
      plain_root: () => timed(() => ask('root', SUM)),
      prefix: () => msEach(PREFIXES, (prefix) => merkle.prefix(prefix)),
      plain_prefix: () =>
        msEach(PREFIXES, (prefix) => askRange('prefix', `${SUM} AND ${IN_RANGE}`, `${prefix}.`)),
      children: () => msEach(PREFIXES, () => merkle.children('doc', { limit: PAGE })),
    };
    const ms = await inRounds(asked, ROUNDS);
    for (const name of Object.keys(asked) as (keyof typeof asked)[]) {
      emit(
        `${name}_ms_${at}`,
        figure(ms, (round) => round[name]),
        'ms',
      );
    }
  } finally {
    await reader.close();
  }
}

/** Milliseconds of one of the calls, which are made one after the other. */
async function msEach<T>(inputs: readonly T[], call: (input: T) => Promise<unknown>): Promise<number> {
  const ms = await timed(async () => {
    for (const input of inputs) await call(input);
  });
  return ms / inputs.length;
}

function partsOf(ids: readonly string[]): string[][] {
  return Array.from({ length: ids.length / CALL }, (_, i) => ids.slice(i * CALL, (i + 1) * CALL));
}
