import test from 'ava';
import { createPool } from '../../src/postgres/pool.ts';
import { primaryPlace, readReplicaHeads, readReplicaRows, replicaPlace } from '../../src/postgres/replica.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Replica, type Replication, startReplication } from '../helpers/postgres-replica.ts';

const TIMEOUT_MS = 5000;
const WRITES = 400;

let replication: Replication;
test.before(async () => {
  replication = await startReplication();
});
test.after.always(() => replication.close());

test.serial('I6: rows of a replica are never older than the place that comes with them', async (t) => {
  const { deployment, pool, replica } = await opened(t);
  await deployment.pool.query(
    `INSERT INTO items (id, content_version, deleted, durable, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     VALUES ('a', 0, false, false, '1', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid())`,
  );
  await replica.caughtUp();
  /** Places behind the commit of each version. */
  const places: bigint[] = [];
  const write = async () => {
    for (let n = 0; n < WRITES; n++) {
      await deployment.pool.query(`UPDATE items SET content_version = ${n} WHERE id = 'a'`);
      places[n] = (await primaryPlace(deployment.pool, TIMEOUT_MS)).lsn;
    }
  };
  const older: string[] = [];
  const over = new AbortController();
  let reads = 0;
  const read = async (heads: boolean) => {
    while (!over.signal.aborted) {
      const { place, rows } = heads
        ? await readReplicaHeads(pool, ['a', "o'\\"], TIMEOUT_MS)
        : await readReplicaRows(pool, ['a', "o'\\"], TIMEOUT_MS);
      reads++;
      const least = places.findLastIndex((lsn) => lsn <= place.lsn);
      const version = rows[0]?.contentVersion ?? -1;
      if (version < least) older.push(`version ${version} at a place behind ${least}`);
    }
  };
  await Promise.all([write().finally(() => over.abort()), ...[true, false, true, false].map(read)]);
  t.deepEqual(older.slice(0, 5), []);
  t.true(reads > 100);
});

test.serial('I6: a replica that has replayed everything stands where the primary says it does', async (t) => {
  const { deployment, pool } = await opened(t);
  for (let n = 0; n < 10; n++) {
    // A switch ends the record where a file of the log ends.
    const length = n * 997;
    await deployment.pool.query(`SELECT pg_logical_emit_message(true, '', repeat('x', ${length}))`);
    if (n % 3 === 0) await deployment.pool.query('SELECT pg_switch_wal()');
    const primary = await primaryPlace(deployment.pool, TIMEOUT_MS);
    await eventually(
      async () => {
        const { isReplica, database, timeline, lsn } = await replicaPlace(pool, TIMEOUT_MS);
        t.deepEqual([isReplica, database, timeline], [true, primary.database, primary.timeline]);
        return lsn >= primary.lsn;
      },
      'it stands there, before anything else is written',
      3000,
    );
  }
});

test.serial('I7: a replica is asked for ids of any text', async (t) => {
  const { deployment, pool, replica } = await opened(t);
  const ids = [
    "o'\\'",
    '"',
    '\\',
    '{a,b}',
    'a","b',
    'NULL',
    ' a ',
    '$1',
    "'; DROP TABLE items; --",
    'é\u{1F600}\n\t',
    '\\"',
  ];
  await deployment.pool.query(
    `INSERT INTO items (id, content_version, deleted, durable, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     SELECT id, 1, false, false, '1', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid() FROM unnest($1::text[]) AS id`,
    [ids],
  );
  await replica.caughtUp();
  const { rows } = await readReplicaRows(pool, ids, TIMEOUT_MS);
  t.deepEqual(rows.map(({ id }) => id).toSorted(), ids.toSorted());
  for (const id of ids)
    t.deepEqual(
      (await readReplicaHeads(pool, [id], TIMEOUT_MS)).rows.map((row) => row.id),
      [id],
    );
});

async function opened(t: { teardown(close: () => Promise<void>): void }) {
  const replica = replication.replicas[0] as Replica;
  const deployment = await createDeployment({ databaseUrl: replication.primary.urlOf('postgres') });
  const pool = createPool(
    replica.urlOf(new URL(deployment.options.databaseUrl).pathname.slice(1)),
    4,
    deployment.log,
  );
  await replica.caughtUp();
  t.teardown(async () => {
    await pool.end();
    await deployment.close();
  });
  return { deployment, pool, replica };
}
