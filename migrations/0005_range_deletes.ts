import type { Knex } from 'knex';

/**
 * One row a range delete: where it is and how many items it has deleted, moved on in the transaction that deletes them, so
 * that a crash in the middle neither repeats a count nor loses one. Kept for a while: a replayed dead letter that is
 * older than a range delete must not bring its item back.
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
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now()
    )`);
  await knex.raw('CREATE INDEX items_state_dead ON items (state, id) WHERE deleted');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP INDEX items_state_dead');
  await knex.raw('DROP TABLE range_deletes');
}
