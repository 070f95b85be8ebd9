import type { Knex } from 'knex';

/**
 * What belongs to the whole deployment, in one row, and the parts of tables that belong to one partition.
 *
 * A partition is a range of `id_hash`. `range_deletes` keeps the range, because each partition deletes its own rows with a stamp
 * of its own clock. A snapshot of the membership filter holds the live ids of one partition, because its place on the feed is
 * that of the partition's feed.
 *
 * `shard_name`, `shard_map` and `map_version` name this database and say which database has which partition; they are empty
 * while there is one database.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE deployment (
      single        boolean PRIMARY KEY DEFAULT true CHECK (single),
      deployment_id uuid NOT NULL DEFAULT gen_random_uuid(),
      partitions    int  NOT NULL DEFAULT 1 CHECK (partitions BETWEEN 1 AND 256 AND partitions & (partitions - 1) = 0),
      shard_name    text,
      shard_map     json,
      map_version   bigint NOT NULL DEFAULT 0,
      created_at    timestamptz NOT NULL DEFAULT now()
    )`);
  await knex.raw('INSERT INTO deployment DEFAULT VALUES');
  await knex.raw(`
    ALTER TABLE range_deletes
      ADD COLUMN first_hash int NOT NULL DEFAULT 0,
      ADD COLUMN last_hash  int NOT NULL DEFAULT 2147483647`);
  await knex.raw(`
    ALTER TABLE filter_snapshots
      DROP COLUMN single,
      ADD COLUMN partition int NOT NULL DEFAULT 0 PRIMARY KEY`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DELETE FROM filter_snapshots');
  await knex.raw(
    'ALTER TABLE filter_snapshots DROP COLUMN partition, ADD COLUMN single boolean PRIMARY KEY DEFAULT true CHECK (single)',
  );
  await knex.raw('ALTER TABLE range_deletes DROP COLUMN first_hash, DROP COLUMN last_hash');
  await knex.raw('DROP TABLE deployment');
  // Of several shards only; its triggers go with it.
  await knex.raw('DROP FUNCTION IF EXISTS tierline_in_turn() CASCADE');
}
