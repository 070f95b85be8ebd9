import type { Knex } from 'knex';

/**
 * One row an id, live or tombstone, with two last-writer-wins registers (content with deletion, and state), each with its
 * own stamp. `json` and not `jsonb`: the text comes back byte for byte. The reader's prefix and keyset queries walk the
 * primary key, which is why ids collate by bytes.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE items (
      id              text COLLATE "C" PRIMARY KEY,
      content_version bigint  NOT NULL,
      deleted         boolean NOT NULL,
      content         json,
      content_bytes   bytea,
      content_hash    bytea,
      state_version   bigint  NOT NULL,
      state           text    NOT NULL,
      gen             int     NOT NULL CHECK (gen BETWEEN 0 AND 32767),
      kh              int     NOT NULL CHECK (kh >= 0),
      x0 bigint NOT NULL, x1 bigint NOT NULL, s0 bigint NOT NULL, s1 bigint NOT NULL,
      pgen int, p0 bigint, p1 bigint,
      created_at      timestamptz NOT NULL DEFAULT now(),
      updated_at      timestamptz NOT NULL DEFAULT now(),
      trace_parent    text,
      batch_id        uuid NOT NULL,
      CHECK (deleted = (content IS NULL AND content_bytes IS NULL)),
      CHECK (deleted = (content_hash IS NULL))
    ) WITH (fillfactor = 85)`);
  await knex.raw(`
    COMMENT ON COLUMN items.content_version IS 'Stamp (µs) of the content register; 0: a state was set before any content came';
    COMMENT ON COLUMN items.state_version IS 'Stamp (µs) of the state register; 0: never set, reads as default';
    COMMENT ON COLUMN items.gen IS '0 live; 1 + week of the newest stamp for a tombstone, so that a purge drops whole generations';
    COMMENT ON COLUMN items.kh IS 'Top 31 bits of SHA-256(id): place in the hash tree';
    COMMENT ON COLUMN items.x0 IS 'x0, x1: digest of the row; s0, s1: the state register''s share; pgen, p0, p1: what the last write replaced'`);
  await knex.raw('CREATE INDEX items_state ON items (state, id) WHERE NOT deleted');
  await knex.raw('CREATE INDEX items_gen_kh ON items (gen, kh)');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP TABLE items');
}
