import type { Knex } from 'knex';

/** Which items were submitted for L3 alone: whoever reads such a row must not copy it into L2. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('ALTER TABLE items ADD COLUMN durable boolean NOT NULL DEFAULT false');
  await knex.raw(
    `COMMENT ON COLUMN items.durable IS 'The newest content was submitted for L3 alone (tiers: durable): no copy of it goes into L2'`,
  );
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('ALTER TABLE items DROP COLUMN durable');
}
