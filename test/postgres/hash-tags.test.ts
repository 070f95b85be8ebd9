import test from 'ava';
import knex from 'knex';
import { down, up } from '../../migrations/07_hash_tags.ts';
import { keyHash } from '../../src/merkle/digest.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { knexConfig } from '../../src/postgres/migrator.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { chunkOf } from '../helpers/operations.ts';
import { writerOf } from '../helpers/writer.ts';

const IDS = ['a', '{a}.1', '{a}.2', 'x{✓\n}y', '{}{a}', '}{', '}{{b}}', '{a}.gone'];

test('I5: rows of ids with a hash tag move to the place of their tag, and their nodes with them', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const { pool } = deployment;
  const puts = IDS.map((id, i) => ({ id, kind: 'json', body: '1', stamp: 1000 + i }) as const);
  await writerOf(deployment).write([chunkOf(puts)]);
  await writerOf(deployment).write([chunkOf([{ id: '{a}.gone', kind: 'delete', stamp: 2000 }])]);
  await foldDeltas(pool);
  const places = async () => {
    const { rows } = await pool.query<{ id: string; hash: number }>('SELECT id, id_hash AS hash FROM items');
    return Object.fromEntries(rows.map(({ id, hash }) => [id, hash]));
  };
  const now = Object.fromEntries(IDS.map((id) => [id, keyHash(id)]));
  t.deepEqual(await places(), now);
  const root = await merkleRoot(pool);

  const db = knex(knexConfig(deployment.options.databaseUrl));
  t.teardown(() => db.destroy());
  await down(db);
  t.not((await places())['{a}.1'], now['{a}.1']);
  t.deepEqual((await verifyMerkle(pool)).differences, []);
  await up(db);
  t.deepEqual(await places(), now);
  t.deepEqual((await verifyMerkle(pool)).differences, []);
  await foldDeltas(pool);
  t.deepEqual((await verifyMerkle(pool)).differences, []);
  t.deepEqual(await merkleRoot(pool), root);
});
