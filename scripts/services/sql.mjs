/** Runs one statement and returns the first value of its answer. */
export async function askPostgres(connectionString, statement) {
  // Imported here, because dependencies may be missing when this file is loaded.
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000 });
  // A server that goes away in between fails the query, which tells.
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query({ text: statement, rowMode: 'array' });
    return rows[0]?.[0];
  } finally {
    await client.end().catch(() => {});
  }
}
