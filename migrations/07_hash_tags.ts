import type { Knex } from 'knex';

/**
 * Ids with a hash tag, `{…}`, move in the hash tree: the top 8 bits of `id_hash` are those of SHA-256 of the tag, so that all ids
 * of a tag are in one partition. Their nodes move in the same statement, by a delta that the folder adds as any other.
 */
export async function up(knex: Knex): Promise<void> {
  await move(knex, String.raw`substring(id from '^[^{]*\{([^}]+)\}')`);
}

export async function down(knex: Knex): Promise<void> {
  await move(knex, 'id');
}

/** @param tag the text whose hash gives the top 8 bits */
async function move(knex: Knex, tag: string): Promise<void> {
  await knex.raw(
    `WITH places AS (
       SELECT id, tombstone_week, id_hash AS old_hash, digest_hi, digest_lo,
              (get_byte(sha256(convert_to(:tag:, 'UTF8')), 0) << 23) | (id_hash & 8388607) AS new_hash
       FROM items WHERE position('{' in id) > 0 AND :tag: IS NOT NULL),
     moved AS (
       UPDATE items SET id_hash = new_hash FROM places WHERE items.id = places.id AND old_hash <> new_hash
       RETURNING places.*),
     changes AS (
       SELECT (tombstone_week << 16) | (new_hash >> 15) AS leaf, 1 AS item_count, digest_hi, digest_lo FROM moved
       UNION ALL
       SELECT (tombstone_week << 16) | (old_hash >> 15), -1, digest_hi, digest_lo FROM moved)
     INSERT INTO merkle_delta (root_count, root_digest_hi, root_digest_lo, leaves, leaf_counts, leaf_digests_hi, leaf_digests_lo,
                               parents, parent_counts, parent_digests_hi, parent_digests_lo)
     SELECT 0, 0, 0, array_agg(leaf), array_agg(item_count), array_agg(digest_hi), array_agg(digest_lo), '{}', '{}', '{}', '{}'
     FROM changes HAVING count(*) > 0`.replaceAll(':tag:', tag),
  );
}
