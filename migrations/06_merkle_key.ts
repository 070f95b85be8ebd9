import type { Knex } from 'knex';

/**
 * At most one row. It tells whether a process has the key with which this store's digests were computed: `scheme` is the version
 * of how digests are computed, `key_check` a fixed text hashed with the key.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE merkle_key (
      single     boolean PRIMARY KEY DEFAULT true CHECK (single),
      scheme     int NOT NULL,
      key_check  text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    )`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE merkle_key');
}
