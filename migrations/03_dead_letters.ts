import type { Knex } from 'knex';

/** Operations that Postgres refused. `payload` is the operation as JSON text, so it can be replayed. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE dead_letters (
      seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      item_id   text COLLATE "C" NOT NULL,
      stamp     bigint NOT NULL,
      payload   text NOT NULL,
      sqlstate  text,
      message   text NOT NULL,
      attempts  int NOT NULL DEFAULT 1,
      chunk_id  text NOT NULL,
      died_at   timestamptz NOT NULL DEFAULT now(),
      UNIQUE (item_id, stamp)
    )`);
  await knex.raw('CREATE INDEX dead_letters_died_at ON dead_letters (died_at)');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE dead_letters');
}
