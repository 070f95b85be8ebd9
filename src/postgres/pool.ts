import pg from 'pg';
import { within } from '../abortable.ts';
import {
  boundedReason,
  messageOf,
  SchemaMissingError,
  TierlineError,
  TierUnavailableError,
} from '../errors.ts';
import type { Logger } from '../log.ts';

export type Pool = pg.Pool;
/** A pool, or one of its connections inside a transaction. */
export type Queryable = Pick<pg.Pool, 'query'>;

const CONNECT_TIMEOUT_MS = 2000;

/** Stamps and counts are below 2^53, so int8 is read as a number. Digests are not: queries read them as hex text. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

export function createPool(databaseUrl: string, size: number, log: Logger): Pool {
  const clients = new Set<pg.Client>();
  async function onConnect(client: pg.ClientBase): Promise<void> {
    clients.add(client as pg.Client);
    client.once('end', () => clients.delete(client as pg.Client));
    await adaptToPooler(client as pg.Client, CONNECT_TIMEOUT_MS);
  }
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    types,
    // oxlint-disable-next-line typescript/no-misused-promises -- the pool waits for it, which its types do not say
    onConnect,
  });
  pool.on('error', (error) => log.warn({ err: error }, 'idle Postgres connection lost'));
  openClients.set(pool, clients);
  return pool;
}

const openClients = new WeakMap<Pool, Set<pg.Client>>();
const QUIT_MS = 1000;

/**
 * Ends a pool. Statements have a second to end; then the connections are cut. `pool.end()` alone waits for ever for a server that
 * stopped answering in the middle of a statement.
 */
export async function closePool(pool: Pool): Promise<void> {
  const ended = pool.end();
  await within(QUIT_MS, ended, () => {
    for (const client of openClients.get(pool) ?? []) client.connection.stream.destroy();
  });
  await ended;
}

/** node-postgres takes a `query_timeout` with each statement, but its types do not have it. */
export function timed(query: {
  name: string;
  text: string;
  values: unknown[];
  timeoutMs: number | undefined;
}): pg.QueryConfig {
  const { timeoutMs, ...config } = query;
  return timeoutMs === undefined ? config : Object.assign(config, { query_timeout: timeoutMs });
}

/** @param timeoutMs after which the connection is closed if there was no answer, so that the next ping does not take one more */
export async function pingPostgres(pool: Pool, timeoutMs: number): Promise<void> {
  await pool.query(timed({ name: 'tierline-ping', text: 'SELECT 1', values: [], timeoutMs }));
}

/**
 * Why a statement failed.
 * `data`: these rows can never be stored as they are. `schema`: tables or columns are missing. `transient`: try again.
 */
export function failureKind(error: unknown): 'data' | 'schema' | 'transient' {
  const code = sqlState(error);
  if (code === undefined) return 'transient';
  if (code === '42P01' || code === '42703') return 'schema';
  // 21 cardinality, 22 data, 23 constraint, 54 limit exceeded, P0 raised by a trigger.
  return /^(21|22|23|54|P0)/.test(code) ? 'data' : 'transient';
}

export function sqlState(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' && /^[\dA-Z]{5}$/.test(code) ? code : undefined;
}

/** How to fix a Postgres, or a PgBouncer before it, that gave this error. */
export function postgresFix(error: unknown): string {
  const state = sqlState(error) ?? sqlState(error instanceof Error ? error.cause : undefined);
  switch (state) {
    case '28P01':
    case '28000':
      return WRONG_USER;
    case '3D000':
      return NO_DATABASE;
    case '42501':
      return 'grant the role of DATABASE_URL the rights on the tables, or use the role that owns them';
    case '53300':
      return 'raise max_connections, or lower TIERLINE_POOL_SIZE';
    default:
      return (
        POOLER_FIXES.find(([text]) => text.test(messageOf(error)))?.[1] ??
        'start the server, or correct DATABASE_URL'
      );
  }
}

const WRONG_USER = 'correct user and password in DATABASE_URL, or let the user in with pg_hba.conf';
const NO_DATABASE = 'create the database, or correct its name in DATABASE_URL';

/** PgBouncer gives most errors one code, so its texts are looked at. */
const POOLER_FIXES: readonly (readonly [text: RegExp, fix: string])[] = [
  [/statement pooling mode/, 'set pool_mode = transaction in PgBouncer'],
  [
    /unsupported startup parameter/,
    'take that parameter out of DATABASE_URL (ALTER ROLE … SET can set it), or name it in ignore_startup_parameters of PgBouncer',
  ],
  [/password authentication failed|no such user|auth failed|login rejected/i, WRONG_USER],
  [/no such database|database .* does not exist/, NO_DATABASE],
  [/no more connections allowed/, 'raise max_client_conn of PgBouncer, or lower TIERLINE_POOL_SIZE'],
];

/** Runs a read. When Postgres cannot answer, it throws, so nobody takes silence for an empty answer. @throws TierUnavailableError, SchemaMissingError */
export async function readL3<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof TierlineError) throw error;
    if (failureKind(error) === 'schema') {
      throw new SchemaMissingError(
        `The database lacks Tierline's tables (${messageOf(error)}). Run \`tierline migrate\`.`,
        { cause: error },
      );
    }
    throw new TierUnavailableError('l3', error);
  }
}

/** One transaction on one connection; rolled back when `work` throws. */
export async function inTransaction<T>(pool: Pool, work: (connection: Queryable) => Promise<T>): Promise<T> {
  const connection = await pool.connect();
  let broken: Error | undefined;
  // The pool handles errors of idle connections only. Without this handler an error between two statements would end the process.
  // The next statement rejects anyway.
  const onLost = (error: Error) => {
    broken = error;
  };
  connection.on('error', onLost);
  try {
    await connection.query('BEGIN');
    const result = await work(connection);
    await connection.query('COMMIT');
    return result;
  } catch (error) {
    await connection.query('ROLLBACK').catch((rollback: unknown) => {
      broken = rollback instanceof Error ? rollback : new Error(String(rollback));
    });
    throw error;
  } finally {
    // A connection whose rollback failed must not serve another transaction.
    connection.off('error', onLost);
    connection.release(broken);
  }
}

export interface Refusal {
  readonly message: string;
  readonly sqlState: string | undefined;
}

/**
 * Writes all units that Postgres accepts: it halves them under savepoints until each refused one is alone (I9).
 * @param db inside a transaction
 * @returns why each refused unit was refused
 */
export async function writeAllButRefused<T>(
  db: Queryable,
  units: readonly T[],
  write: (units: readonly T[]) => Promise<void>,
): Promise<Map<T, Refusal>> {
  const refused = new Map<T, Refusal>();

  async function attempt(part: readonly T[]): Promise<void> {
    await db.query('SAVEPOINT part');
    try {
      await write(part);
      await db.query('RELEASE SAVEPOINT part');
      return;
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      await db.query('ROLLBACK TO SAVEPOINT part');
      if (part.length === 1) {
        refused.set(part[0] as T, { message: boundedReason(messageOf(error)), sqlState: sqlState(error) });
        return;
      }
    }
    const middle = part.length >> 1;
    await attempt(part.slice(0, middle));
    await attempt(part.slice(middle));
  }

  await attempt(units);
  return refused;
}

/**
 * A pooler such as PgBouncer may give each transaction of a connection another server process, and a prepared statement stays
 * with its process. So statements keep their names on a direct connection, where a named one is parsed and planned once, and lose
 * them behind a pooler.
 *
 * A pooler is known by the process id that it sends when a client connects. It makes that id up, because it has no process for
 * the client yet. See `docs/decisions/0013-poolers.md`.
 */
async function adaptToPooler(client: pg.Client, timeoutMs: number): Promise<void> {
  // Behind a pooler whose Postgres is away, the connection stands and the first statement waits.
  const ask = <R extends pg.QueryResultRow>(text: string) =>
    client.query<R>(Object.assign({ text }, { query_timeout: timeoutMs }));
  const { rows } = await ask<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  if (rows[0]?.pid === idOnConnecting(client)) {
    // Postgres takes short statements over many leaves for long ones and compiles them: 25 to 70 ms for 1 ms of work. Behind a pooler
    // the setting would stay with a process that serves others too, so there it is the role's (docs/pgbouncer.md).
    await ask('SET jit = off');
    return;
  }
  pooled.add(client);
  dropNames(client);
  // A pooler in statement mode refuses this. It would refuse every batch later.
  await ask('BEGIN');
  await ask('COMMIT');
}

const pooled = new WeakSet<object>();

/** Whether the pool's connections go through a pooler. */
export async function isThroughPooler(pool: pg.Pool): Promise<boolean> {
  const client = await pool.connect();
  try {
    return pooled.has(client);
  } finally {
    client.release();
  }
}

/** The types of node-postgres lack it. */
function idOnConnecting(client: object): number | null {
  return (client as { readonly processID: number | null }).processID;
}

function dropNames(client: pg.Client): void {
  const send = client.query.bind(client) as (query: unknown, ...rest: unknown[]) => unknown;
  const sendUnnamed = (query: unknown, ...rest: unknown[]) =>
    send(isNamed(query) ? { ...query, name: undefined } : query, ...rest);
  client.query = sendUnnamed as typeof client.query;
}

function isNamed(query: unknown): query is pg.QueryConfig {
  return typeof query === 'object' && query !== null && 'name' in query;
}
