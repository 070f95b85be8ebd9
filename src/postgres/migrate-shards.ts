import type { Knex } from 'knex';
import pg from 'pg';
import { ShardsError } from '../errors.ts';
import type { ShardOption } from '../shard-list.ts';
import { type ShardMap, spread } from '../shard-map.ts';
import {
  databaseIdentity,
  DEPLOYMENT_COLUMNS,
  deploymentOf,
  type DeploymentRow,
  REFUSE_OUT_OF_TURN,
  storedText,
} from './deployment.ts';
import { HAS_DATA, otherPartitions, underLock } from './migrator.ts';

/** Dead letters are called by number, so each shard gives numbers of its own. */
const LETTERS_OF_A_SHARD = 2 ** 40;

interface Database extends DeploymentRow {
  readonly name: string;
  readonly db: Knex;
  readonly hasData: boolean;
}

/**
 * Brings the schema of every shard up to date, and names each. Where there is no map yet, the partitions are spread evenly over
 * new databases; when one of them has data already, it has all partitions. A shard that is named later has none until
 * `partitions move`. Running it twice, or in two processes at once, is harmless.
 * @returns the migrations that it ran, by shard
 * @throws ShardsError when these databases cannot be the shards of one deployment; their rows are left as they are. PartitionsError
 *   when there is data of another number of partitions
 */
export async function migrateShards(
  shards: readonly ShardOption[],
  partitions?: number,
): Promise<ReadonlyMap<string, readonly string[]>> {
  // Before any lock: the second lock on one database would wait for the first.
  await refuseTwins(shards);
  const ran = new Map<string, readonly string[]>();
  // In the same order everywhere, so that two processes do not wait for each other.
  const ordered = shards.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const open = async (at: number, databases: readonly Database[]): Promise<void> => {
    const shard = ordered[at];
    if (shard === undefined) {
      const inOrder = shards.map(({ name }) => databases.find((one) => one.name === name) as Database);
      return nameShards(inOrder, partitions);
    }
    await underLock(shard.url, async (db) => {
      const [, names] = (await db.migrate.latest()) as [number, string[]];
      ran.set(shard.name, names);
      await open(at + 1, [...databases, { ...(await rowOf(db)), name: shard.name, db }]);
    });
  };
  await open(0, []);
  return new Map(shards.map(({ name }) => [name, ran.get(name) ?? []]));
}

/** @throws ShardsError when two of them are the same database, whatever their URLs say */
async function refuseTwins(shards: readonly ShardOption[]): Promise<void> {
  const seen = new Map<string, string>();
  for (const { name, url } of shards) {
    const identity = await identityOf(url);
    const twin = seen.get(identity);
    if (twin !== undefined) {
      throw new ShardsError(
        `The shards ${twin} and ${name} of TIERLINE_SHARDS are the same database. Give each shard a database of its own.`,
      );
    }
    seen.set(identity, name);
  }
}

async function identityOf(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await databaseIdentity(client);
  } finally {
    await client.end();
  }
}

async function rowOf(db: Knex): Promise<DeploymentRow & { hasData: boolean }> {
  const { rows } = await db.raw(`SELECT ${DEPLOYMENT_COLUMNS}, ${HAS_DATA} AS "hasData" FROM deployment`);
  const [row] = rows;
  return { ...deploymentOf(row && { ...row, version: Number(row.version) }), hasData: row.hasData };
}

async function nameShards(databases: readonly Database[], partitions: number | undefined): Promise<void> {
  const first = firstOf(databases);
  const wanted = partitions ?? first.partitions;
  const isEmpty = databases.every(({ hasData }) => !hasData);
  if (wanted !== first.partitions && !isEmpty) throw otherPartitions(first.partitions, wanted);
  const map = mapOf(databases, first, wanted, isEmpty);
  for (const { db, name } of databases) {
    await db.raw(
      'UPDATE deployment SET deployment_id = ?, partitions = ?, shard_name = ?, shard_map = ?, map_version = ?',
      [first.id, wanted, name, storedText(map), map.version],
    );
    if (map.shards.length > 1) await db.raw(REFUSE_OUT_OF_TURN);
    await db.raw(
      "SELECT setval(seq, greatest(nextval(seq), ?::bigint)) FROM pg_get_serial_sequence('dead_letters', 'seq') seq",
      [map.shards.indexOf(name) * LETTERS_OF_A_SHARD + 1],
    );
  }
}

/** The database that says what the deployment is. @throws ShardsError when the others are not of it */
function firstOf(databases: readonly Database[]): Database {
  const [head] = databases as readonly [Database, ...Database[]];
  const named = databases.filter(({ shard }) => shard !== undefined);
  const wrong = named.find(({ shard, name }) => shard !== name);
  if (wrong !== undefined) {
    throw new ShardsError(
      `The URL of shard ${wrong.name} in TIERLINE_SHARDS leads to the database of shard ${wrong.shard}. Give each shard the name that it was migrated with.`,
    );
  }
  const newest = named.toSorted((a, b) => (b.map?.version ?? 0) - (a.map?.version ?? 0))[0];
  const owners = databases.filter(({ hasData, shard }) => hasData && shard === undefined);
  const first: Database = newest ?? owners[0] ?? head;
  const stranger = [...named.filter(({ id }) => id !== first.id), ...owners].find((one) => one !== first);
  if (stranger !== undefined) {
    throw new ShardsError(
      `The database of shard ${stranger.name} has data of another deployment than that of shard ${first.name}. A new shard needs an empty database.`,
    );
  }
  const missing = first.map?.shards.find((name) => databases.every((one) => one.name !== name));
  if (missing !== undefined) {
    throw new ShardsError(
      `The deployment has a shard ${missing}, which TIERLINE_SHARDS does not name. Name all shards of the deployment.`,
    );
  }
  return first;
}

function mapOf(
  databases: readonly Database[],
  first: Database,
  partitions: number,
  isEmpty: boolean,
): ShardMap {
  const names = databases.map(({ name }) => name);
  const { map } = first;
  if (map === undefined) {
    const even = spread(names, partitions);
    return isEmpty ? even : { ...even, owners: even.owners.map(() => first.name) };
  }
  if (partitions !== first.partitions) return { ...spread(names, partitions), version: map.version + 1 };
  const fresh = names.filter((name) => !map.shards.includes(name));
  if (fresh.length === 0) return map;
  return { ...map, version: map.version + 1, shards: [...map.shards, ...fresh] };
}
