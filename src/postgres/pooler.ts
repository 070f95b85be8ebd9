import type pg from 'pg';

/**
 * A pooler such as PgBouncer may give each transaction of a connection another server process, and a prepared statement stays
 * with its process. So statements keep their names on a direct connection, where a named one is parsed and planned once, and lose
 * them behind a pooler.
 *
 * A pooler is known by the process id that it sends when a client connects. It makes that id up, because it has no process for
 * the client yet. See `docs/decisions/0013-poolers.md`.
 */
export async function adaptToPooler(client: pg.Client, timeoutMs: number): Promise<void> {
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
