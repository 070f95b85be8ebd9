import { type Queryable, readL3 } from './pool.ts';

/** When this deployment was last equal to another one, in milliseconds since 1970. @throws TierUnavailableError, SchemaMissingError */
export async function lastEqualAt(db: Queryable, deployment: string): Promise<number | undefined> {
  const { rows } = await readL3(() =>
    db.query<{ at: number }>(
      'SELECT (extract(epoch FROM equal_at) * 1000)::bigint AS at FROM peers WHERE deployment_id = $1::uuid',
      [deployment],
    ),
  );
  return rows[0]?.at;
}

/** @throws as `lastEqualAt` */
export async function noteEqual(db: Queryable, deployment: string): Promise<void> {
  await readL3(() =>
    db.query(
      `INSERT INTO peers (deployment_id) VALUES ($1::uuid)
       ON CONFLICT (deployment_id) DO UPDATE SET equal_at = greatest(peers.equal_at, now())`,
      [deployment],
    ),
  );
}
