import type { Knex } from 'knex';

/**
 * One row an id, live or tombstone. It has two last-writer-wins registers, each with a stamp of its own: the content (with
 * deletion) and the state.
 *
 * - `digest_hi`, `digest_lo`: the two 64-bit halves of the row's digest, which is the XOR of both registers' digests.
 * - `state_digest_hi`, `state_digest_lo`: the digest of the state register alone.
 * - `id_hash`: the row's place in the hash tree (`keyHash`). Its top 16 bits choose the row's leaf in the hash tree.
 * - `tombstone_week`: 0 for a live row. For a tombstone 1 + the week of its newest stamp, so a purge drops whole weeks.
 * - `previous_…`: the values that the last write replaced; NULL in a row that was written once. They can only be read
 *   reliably from the write itself.
 *
 * The content is `json` and not `jsonb`, so the text comes back byte for byte. Ids collate by bytes, because queries by prefix
 * and pages walk the primary key in that order.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE items (
      id                   text COLLATE "C" PRIMARY KEY,
      content_version      bigint  NOT NULL,
      deleted              boolean NOT NULL,
      durable              boolean NOT NULL DEFAULT false,
      content              json,
      content_bytes        bytea,
      content_hash         bytea,
      state_version        bigint  NOT NULL,
      state                text    NOT NULL,
      tombstone_week       int     NOT NULL CHECK (tombstone_week BETWEEN 0 AND 32767),
      id_hash              int     NOT NULL CHECK (id_hash >= 0),
      digest_hi            bigint  NOT NULL,
      digest_lo            bigint  NOT NULL,
      state_digest_hi      bigint  NOT NULL,
      state_digest_lo      bigint  NOT NULL,
      previous_week        int,
      previous_digest_hi   bigint,
      previous_digest_lo   bigint,
      created_at           timestamptz NOT NULL DEFAULT now(),
      updated_at           timestamptz NOT NULL DEFAULT now(),
      trace_parent         text,
      batch_id             uuid NOT NULL,
      CHECK (deleted = (content IS NULL AND content_bytes IS NULL)),
      CHECK (deleted = (content_hash IS NULL))
    ) WITH (fillfactor = 85)`);
  await knex.raw(`
    COMMENT ON COLUMN items.content_version IS 'Stamp (µs) of the content register; 0: a state was set before any content came';
    COMMENT ON COLUMN items.state_version IS 'Stamp (µs) of the state register; 0: never set, reads as default';
    COMMENT ON COLUMN items.durable IS 'The newest content was submitted for L3 alone (tiers: durable): no copy of it goes into L2';
    COMMENT ON COLUMN items.tombstone_week IS '0: live; else 1 + week of the newest stamp'`);
  await knex.raw(`
    CREATE FUNCTION tombstone_week_of(deleted boolean, stamp bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN deleted THEN 1 + (stamp / 604800000000)::int ELSE 0 END $$`);
  await knex.raw('CREATE INDEX items_state ON items (state, id) WHERE NOT deleted');
  await knex.raw('CREATE INDEX items_state_deleted ON items (state, id) WHERE deleted');
  await knex.raw('CREATE INDEX items_leaf ON items (tombstone_week, id_hash)');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE items');
  await knex.raw('DROP FUNCTION tombstone_week_of(boolean, bigint)');
}
