import type { Knex } from 'knex';

/**
 * The Merkle tables. `merkle_leaf` has the leaves of a hash tree and `merkle_path` the dotted prefixes of ids. A node is the
 * number of its items and the XOR of their digests, in two 64-bit halves.
 *
 * `merkle_delta` has one row a batch with what the batch changed, until the folder adds it to the other two: the change of the
 * root of the live items, of leaves, and of the prefixes that are direct parents of the written ids. The `_now` views add
 * waiting deltas to the folded nodes, so they are exact in any snapshot.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    CREATE TABLE merkle_leaf (
      leaf       int PRIMARY KEY,
      item_count bigint NOT NULL,
      digest_hi  bigint NOT NULL,
      digest_lo  bigint NOT NULL
    ) WITH (fillfactor = 50)`);
  await knex.raw(`
    CREATE TABLE merkle_path (
      path       text COLLATE "C" PRIMARY KEY,
      parent     text COLLATE "C",
      item_count bigint NOT NULL,
      digest_hi  bigint NOT NULL,
      digest_lo  bigint NOT NULL
    ) WITH (fillfactor = 50)`);
  await knex.raw('CREATE INDEX merkle_path_parent ON merkle_path (parent, path)');
  await knex.raw(`
    CREATE TABLE merkle_delta (
      seq               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      root_count        int      NOT NULL,
      root_digest_hi    bigint   NOT NULL,
      root_digest_lo    bigint   NOT NULL,
      leaves            int[]    NOT NULL,
      leaf_counts       int[]    NOT NULL,
      leaf_digests_hi   bigint[] NOT NULL,
      leaf_digests_lo   bigint[] NOT NULL,
      parents           text[]   NOT NULL,
      parent_counts     int[]    NOT NULL,
      parent_digests_hi bigint[] NOT NULL,
      parent_digests_lo bigint[] NOT NULL
    )`);
  // Rows live for a second: a vacuum by share of the table would come too late.
  await knex.raw(
    'ALTER TABLE merkle_delta SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)',
  );
  await knex.raw(`
    CREATE FUNCTION merkle_parent(id text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT left(id, greatest(length(id) - position('.' in reverse(id)), 0) * (position('.' in id) > 0)::int) $$`);
  // "WHERE p <> ''": the first part of an id such as ".x.y" is empty and would name the root a second time.
  await knex.raw(`
    CREATE FUNCTION merkle_ancestors(parent text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT '' UNION ALL
       SELECT p FROM (SELECT array_to_string((string_to_array(parent, '.'))[1:k], '.') p
                      FROM generate_series(1, cardinality(string_to_array(parent, '.'))) k) parts WHERE p <> '' $$`);
  await knex.raw(`
    CREATE VIEW merkle_leaf_now AS
      SELECT leaf, item_count, digest_hi, digest_lo FROM merkle_leaf
      UNION ALL
      SELECT u.* FROM merkle_delta, unnest(leaves, leaf_counts, leaf_digests_hi, leaf_digests_lo) AS u (leaf, item_count, digest_hi, digest_lo)`);
  await knex.raw(`
    CREATE VIEW merkle_path_now AS
      SELECT path, item_count, digest_hi, digest_lo FROM merkle_path
      UNION ALL
      SELECT path, item_count, digest_hi, digest_lo FROM merkle_delta,
        unnest(parents, parent_counts, parent_digests_hi, parent_digests_lo) AS u (parent, item_count, digest_hi, digest_lo),
        merkle_ancestors(parent) AS path`);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('DROP VIEW merkle_path_now, merkle_leaf_now');
  await knex.raw('DROP FUNCTION merkle_ancestors(text), merkle_parent(text)');
  await knex.raw('DROP TABLE merkle_delta, merkle_path, merkle_leaf');
}
