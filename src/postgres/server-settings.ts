import { readL3 } from './pool.ts';
import type { Queryable } from './pool.ts';

export interface ServerSettings {
  /** As text, `15.4` say, and as `server_version_num`. */
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
