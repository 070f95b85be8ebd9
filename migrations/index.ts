import type { Knex } from 'knex';
import * as items from './01_items.ts';
import * as merkle from './02_merkle.ts';
import * as deadLetters from './03_dead_letters.ts';
import * as filterSnapshots from './04_filter_snapshots.ts';
import * as rangeDeletes from './05_range_deletes.ts';
import * as merkleKey from './06_merkle_key.ts';
import * as hashTags from './07_hash_tags.ts';
import * as deployment from './08_deployment.ts';
import * as peers from './09_peers.ts';

/**
 * All migrations by name, in the order in which they run. This is a list, because the folder may hold compiled files whose
 * sources were deleted. The database stores the names, so they carry no extension and never change.
 */
export const migrations: Readonly<Record<string, Knex.Migration>> = {
  '01_items': items,
  '02_merkle': merkle,
  '03_dead_letters': deadLetters,
  '04_filter_snapshots': filterSnapshots,
  '05_range_deletes': rangeDeletes,
  '06_merkle_key': merkleKey,
  '07_hash_tags': hashTags,
  '08_deployment': deployment,
  '09_peers': peers,
};
