import { setTimeout as sleep } from 'node:timers/promises';
import { parseCopyKey } from '../src/keys.ts';
import { readBacklog } from '../src/redis/backlog.ts';
import { allKeys, getAll } from '../src/redis/masters.ts';
import { decodeStored, versionOf } from '../src/schema/stored-item.ts';
import type { Reader } from '../src/types/read.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { LOCK_MS } from './crash.ts';
import type { Scene } from './deployment.ts';
import type { Found } from './model.ts';

const PAGE = 5000;
/** A worker that is killed between the settling of a chunk and the end of its job leaves the job to others, once its lock has expired. */
const COMPLETION_MS = 2 * LOCK_MS;
const STATES = ['default', 'reviewed'];

/** Compares all tiers and the Merkle tables with the model, exactly. */
export async function audit(scene: Scene, reader: Reader): Promise<string> {
  const { deployment, model, report } = scene;
  await compare('L3', rowsOf(deployment), scene);
  await compare('L2', copiesOf(deployment), scene);
  report.check('unsettled, in flight or queued', await unsettled(deployment), 0);
  const dead = await deployment.shards.each(({ pool }) => pool.query('SELECT FROM dead_letters'));
  report.check('dead letters', dead.flatMap(({ rows }) => rows).length, 0);

  const root = await reader.merkle.root();
  report.check('Merkle root, items', root.count, model.countLive());
  const digest = model.rootDigest(deployment.config.merkleKey);
  if (root.digest !== digest) report.difference(`Merkle root: ${root.digest}, the model's is ${digest}`);
  // A short run may not come as far as Great Britain: then the country of the first record.
  const prefix = model.countLive('city.GB.') > 0 ? 'city.GB' : 'city.AD';
  const { count } = await reader.merkle.prefix(prefix);
  report.check(`Merkle prefix ${prefix}, items`, count, model.countLive(`${prefix}.`));
  report.check('Merkle verify, differences', (await reader.merkle.verify()).differences.length, 0);
  return root.digest;
}

type Page = readonly (Found & { readonly id: string })[];

async function compare(tier: string, pages: AsyncIterable<Page>, { model, report }: Scene): Promise<void> {
  let tombstones = 0;
  const live = new Map(STATES.map((state) => [state, 0]));
  for await (const page of pages) {
    for (const { id, ...found } of page) {
      if (found.deleted) tombstones++;
      else live.set(found.state, (live.get(found.state) ?? 0) + 1);
      const problem = model.problem(id, found);
      if (problem !== undefined) report.difference(`${tier} ${problem}`);
    }
  }
  for (const [state, count] of live) {
    report.check(`${tier} live in state ${state}`, count, model.countLive('', state));
  }
  report.check(`${tier} tombstones`, tombstones, model.ids.length - model.countLive());
}

/** Every row of Postgres. */
async function* rowsOf({ shards }: Deployment): AsyncIterable<Page> {
  for (const { pool } of shards.all) {
    const { rows } = await pool.query<Found & { id: string }>(
      `SELECT id, deleted, state, greatest(content_version, state_version) AS version,
              coalesce(encode(content_hash, 'hex'), '') AS "contentHash" FROM items`,
    );
    yield rows;
  }
}

/** Every copy in Redis. */
async function* copiesOf({ cache, keys, generation }: Deployment): AsyncIterable<Page> {
  // SCAN may give a key twice.
  const seen = new Set<string>();
  for await (const page of allKeys(cache, `${keys.itemPrefix}*`, PAGE)) {
    const found = page.filter((key) => {
      const parts = parseCopyKey(keys, key);
      return !seen.has(key) && parts?.generation === generation.session?.copies.generationOf(parts?.id ?? '');
    });
    if (found.length === 0) continue;
    const values = await getAll(cache, found);
    yield found.flatMap((key, i) => {
      seen.add(key);
      const value = values[i];
      if (value === null || value === undefined) return [];
      const stored = decodeStored(parseCopyKey(keys, key)?.id ?? '', value);
      const { id, kind, state, contentHash } = stored;
      return [{ id, deleted: kind === 'deleted', state, version: versionOf(stored), contentHash }];
    });
  }
}

/** What Redis still has to do. Jobs complete a moment after their writes have settled. */
async function unsettled({ redis, lanes }: Deployment): Promise<number> {
  for (const deadline = Date.now() + COMPLETION_MS; ; await sleep(20)) {
    const { pendingItems, chunksInFlight, chunksWaiting, chunksActive } = await readBacklog(redis, lanes);
    const left = pendingItems + chunksInFlight + chunksWaiting + chunksActive;
    if (left === 0 || Date.now() > deadline) return left;
  }
}
