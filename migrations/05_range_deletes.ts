import type { Knex } from 'knex';

/**
 * One row a range delete: where it is, how many items it has deleted, and how many rows Postgres refused to change. The row is
 * updated in the transaction that deletes, so a crash neither repeats a count nor loses one. Rows are kept for a while after
 * the end: the replay of an older dead letter must not bring its item back.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE range_deletes (
      range_id   uuid PRIMARY KEY,
      kind       text NOT NULL CHECK (kind IN ('prefix', 'state')),
      value      text COLLATE "C" NOT NULL,
      stamp      bigint NOT NULL,
      phase      text NOT NULL DEFAULT 'live' CHECK (phase IN ('live', 'dead', 'done')),
      after_id   text COLLATE "C" NOT NULL DEFAULT '',
      copied_to  text COLLATE "C" NOT NULL DEFAULT '',
      deleted    bigint NOT NULL DEFAULT 0,
      refused    bigint NOT NULL DEFAULT 0,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now()
    )`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE range_deletes');
}
