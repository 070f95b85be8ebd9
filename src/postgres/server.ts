import { SchemaMissingError, TierUnavailableError, UnsafeServerError } from '../errors.ts';
import { type Pool, type Queryable, readL3 } from './pool.ts';

/** As `server_version_num`. */
export const OLDEST_POSTGRES = 140_000;

/** @throws UnsafeServerError for a server that is too old, TierUnavailableError when it does not answer. */
export async function checkPostgres(pool: Pool): Promise<void> {
  const { rows } = await pool
    .query<{ number: string; name: string; encoding: string; schema: string | null }>(
      `SELECT current_setting('server_version_num') AS number, current_setting('server_encoding') AS encoding, current_setting('server_version') AS name, to_regclass('deployment')::text AS schema`,
    )
    .catch((error: unknown) => {
      throw new TierUnavailableError('l3', error);
    });
  const server = rows[0];
  if (server === undefined || Number(server.number) < OLDEST_POSTGRES) {
    throw new UnsafeServerError(
      `Postgres ${server?.name ?? ''} is too old: Tierline needs Postgres 14 or newer. Upgrade the server.`,
    );
  }
  if (server.encoding !== 'UTF8') {
    throw new UnsafeServerError(
      `The database keeps text in ${server.encoding}, which cannot hold every id: create it with ENCODING 'UTF8'.`,
    );
  }
  if (server.schema === null) {
    throw new SchemaMissingError(
      'The database has no Tierline tables, or those of an earlier build. Run `tierline migrate`.',
    );
  }
}

export interface ServerSettings {
  /** Such as `15.4`; `versionNumber` is `server_version_num`. */
  readonly version: string;
  readonly versionNumber: number;
  readonly fsync: string;
  readonly fullPageWrites: string;
  readonly synchronousCommit: string;
  readonly encoding: string;
  readonly readOnly: boolean;
}

/** @throws TierUnavailableError */
export async function readServerSettings(db: Queryable): Promise<ServerSettings> {
  const { rows } = await readL3(() =>
    db.query<ServerSettings>(
      `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS "versionNumber",
              current_setting('fsync') AS fsync, current_setting('full_page_writes') AS "fullPageWrites",
              current_setting('synchronous_commit') AS "synchronousCommit",
              pg_encoding_to_char(encoding) AS encoding,
              pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS "readOnly"
       FROM pg_database WHERE datname = current_database()`,
    ),
  );
  return rows[0] as ServerSettings;
}

/** The clock of the server, in milliseconds since 1970. @throws TierUnavailableError */
export async function serverTimeMs(db: Queryable): Promise<number> {
  const { rows } = await readL3(() =>
    db.query<{ ms: number }>('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms'),
  );
  return rows[0]?.ms ?? 0;
}

/** The rights that a drain worker needs on each table. */
const DRAIN_NEEDS: Readonly<Record<string, readonly string[]>> = {
  items: ['SELECT', 'INSERT', 'UPDATE'],
  // UPDATE: with several shards a batch locks the row.
  deployment: ['SELECT', 'UPDATE'],
  merkle_delta: ['INSERT'],
  merkle_key: ['SELECT', 'INSERT'],
  dead_letters: ['INSERT'],
  range_deletes: ['SELECT', 'INSERT', 'UPDATE'],
};

export interface Rights {
  readonly role: string;
  /** Rights that the role lacks, such as `INSERT on items`; empty when it has all. */
  readonly missing: readonly string[];
  /** The statement that grants all of them, for the owner of the tables to run. */
  readonly grant: string;
}

/** The rights that the connected role lacks for a drain worker. Tables that do not exist are left out. @throws TierUnavailableError */
export async function drainRights(pool: Pool): Promise<Rights> {
  const needs = Object.entries(DRAIN_NEEDS).flatMap(([table, rights]) =>
    rights.map((right) => ({ table, right })),
  );
  const { rows } = await readL3(() =>
    pool.query<{ role: string; ident: string; schema: string; missing: string[] }>({
      name: 'tierline-rights',
      text: `SELECT current_user AS role, quote_ident(current_user) AS ident, quote_ident(current_schema()) AS schema,
        ARRAY(SELECT n.right || ' on ' || n.name FROM unnest($1::text[], $2::text[]) AS n (name, "right")
              WHERE NOT has_table_privilege(to_regclass(n.name), n.right)) AS missing`,
      values: [needs.map(({ table }) => table), needs.map(({ right }) => right)],
    }),
  );
  const { role = '', ident = '', schema = 'public', missing = [] } = rows[0] ?? {};
  const grant = `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${ident}`;
  return { role, missing, grant };
}

/** @throws UnsafeServerError with the statement to run, when a drain worker could not write */
export async function checkDrainRights(pool: Pool): Promise<void> {
  const { role, missing, grant } = await drainRights(pool);
  if (missing.length === 0) return;
  throw new UnsafeServerError(
    `The role ${role} of DATABASE_URL may not write: it lacks ${missing.join(', ')}. As the owner of the tables run: ${grant};`,
  );
}
