import type { Knex } from 'knex';

/**
 * Other deployments that this one was equal to, and when. One that was apart for longer than tombstones are kept must not be repaired:
 * items that were deleted here meanwhile could come back.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE peers (
      deployment_id uuid PRIMARY KEY,
      equal_at      timestamptz NOT NULL DEFAULT now()
    )`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE peers');
}
