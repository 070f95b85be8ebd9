import type { Knex } from 'knex';

/**
 * The membership filter of the live ids as maintenance last stored it, for readers that start. One row. It holds every id that
 * is live by entry `feed_number` (stream id `feed_entry`) of the change feed of Redis epoch `feed_epoch`.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE filter_snapshots (
      single      boolean PRIMARY KEY DEFAULT true CHECK (single),
      feed_epoch  text   NOT NULL,
      feed_number bigint NOT NULL,
      feed_entry  text   NOT NULL,
      ids         bigint NOT NULL,
      filter      bytea  NOT NULL,
      written_at  timestamptz NOT NULL DEFAULT now()
    )`);
  // Fingerprints are random bits: compressing them costs time and saves nothing.
  await knex.raw('ALTER TABLE filter_snapshots ALTER COLUMN filter SET STORAGE EXTERNAL');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE filter_snapshots');
}
