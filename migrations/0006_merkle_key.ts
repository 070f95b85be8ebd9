import type { Knex } from 'knex';

/** At most one row: what tells whether a process has the key with which the digests of this store were computed. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE merkle_key (
      one        boolean PRIMARY KEY DEFAULT true CHECK (one),
      scheme     int NOT NULL,
      key_check  text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    )`);
  await knex.raw(`
    COMMENT ON COLUMN merkle_key.scheme IS 'Version of how digests are computed';
    COMMENT ON COLUMN merkle_key.key_check IS 'A fixed text hashed with the key of the digests'`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE merkle_key');
}
