import type { Knex } from 'knex';
import * as items from './0001_items.ts';
import * as merkle from './0002_merkle.ts';
import * as deadLetters from './0003_dead_letters.ts';
import * as filterSnapshots from './0004_filter_snapshots.ts';
import * as rangeDeletes from './0005_range_deletes.ts';
import * as merkleKey from './0006_merkle_key.ts';
import * as rangesRefused from './0007_ranges_refused.ts';
import * as durable from './0008_durable.ts';

/**
 * All migrations by name, in the order in which they run. A list and not the folder: a compiled file whose source was deleted
 * must not run. The database remembers the names, so they carry no extension.
 */
export const migrations: Readonly<Record<string, Knex.Migration>> = {
  '0001_items': items,
  '0002_merkle': merkle,
  '0003_dead_letters': deadLetters,
  '0004_filter_snapshots': filterSnapshots,
  '0005_range_deletes': rangeDeletes,
  '0006_merkle_key': merkleKey,
  '0007_ranges_refused': rangesRefused,
  '0008_durable': durable,
};
