import type { Knex } from 'knex';

/** Rows of a range delete that Postgres refused to change: they stand in `dead_letters`, and the range went on. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('ALTER TABLE range_deletes ADD COLUMN refused bigint NOT NULL DEFAULT 0');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('ALTER TABLE range_deletes DROP COLUMN refused');
}
