import type { Knex } from 'knex';

/**
 * The Merkle tables: leaves of a hash tree and dotted prefixes of ids, each a (count, digest) node; what batches changed
 * waits in `merkle_delta` until the folder moves it. The `_now` views are exact in any snapshot: folded plus waiting.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE merkle_leaf (
      leaf int PRIMARY KEY, n bigint NOT NULL, x0 bigint NOT NULL, x1 bigint NOT NULL
    ) WITH (fillfactor = 50)`);
  await knex.raw(`
    CREATE TABLE merkle_path (
      path text COLLATE "C" PRIMARY KEY, parent text COLLATE "C", n bigint NOT NULL, x0 bigint NOT NULL, x1 bigint NOT NULL
    ) WITH (fillfactor = 50)`);
  await knex.raw('CREATE INDEX merkle_path_parent ON merkle_path (parent, path)');
  await knex.raw(`
    CREATE TABLE merkle_delta (
      seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      tn int NOT NULL, t0 bigint NOT NULL, t1 bigint NOT NULL,
      leaf int[] NOT NULL, ln int[] NOT NULL, l0 bigint[] NOT NULL, l1 bigint[] NOT NULL,
      par text[] NOT NULL, pn int[] NOT NULL, q0 bigint[] NOT NULL, q1 bigint[] NOT NULL)`);
  await knex.raw(`COMMENT ON TABLE merkle_delta IS
    'One row a batch: tn,t0,t1 change of the live root; leaf,ln,l0,l1 of hash-tree leaves; par,pn,q0,q1 of parent prefixes'`);
  // Rows live for a second: a vacuum by share of the table would come too late.
  await knex.raw(
    'ALTER TABLE merkle_delta SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)',
  );
  await knex.raw(`
    CREATE FUNCTION merkle_parent(id text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT left(id, greatest(length(id) - position('.' in reverse(id)), 0) * (position('.' in id) > 0)::int) $$`);
  // "WHERE p <> ''": the first part of an id such as ".x.y" is empty and would name the root a second time.
  await knex.raw(`
    CREATE FUNCTION merkle_ancestors(par text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT '' UNION ALL
       SELECT p FROM (SELECT array_to_string((string_to_array(par, '.'))[1:k], '.') p
                      FROM generate_series(1, cardinality(string_to_array(par, '.'))) k) parts WHERE p <> '' $$`);
  await knex.raw(`
    CREATE FUNCTION item_gen(deleted boolean, stamp bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN deleted THEN 1 + (stamp / 604800000000)::int ELSE 0 END $$`);
  await knex.raw(`
    CREATE VIEW merkle_leaf_now AS
      SELECT leaf, n, x0, x1 FROM merkle_leaf
      UNION ALL SELECT u.leaf, u.n, u.x0, u.x1 FROM merkle_delta d, unnest(d.leaf, d.ln, d.l0, d.l1) u(leaf, n, x0, x1)`);
  await knex.raw(`
    CREATE VIEW merkle_path_now AS
      SELECT path, n, x0, x1 FROM merkle_path
      UNION ALL SELECT a, u.n, u.x0, u.x1 FROM merkle_delta d, unnest(d.par, d.pn, d.q0, d.q1) u(par, n, x0, x1), merkle_ancestors(u.par) a`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP VIEW merkle_path_now, merkle_leaf_now');
  await knex.raw('DROP FUNCTION item_gen(boolean, bigint), merkle_ancestors(text), merkle_parent(text)');
  await knex.raw('DROP TABLE merkle_delta, merkle_path, merkle_leaf');
}
