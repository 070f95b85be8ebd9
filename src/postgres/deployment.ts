import { SchemaMissingError } from '../errors.ts';
import { type Queryable, readL3 } from './pool.ts';

/** What Postgres knows of the whole deployment. */
export interface DeploymentRow {
  /** Random, made by the first migration. */
  readonly id: string;
  readonly partitions: number;
}

/** @throws TierUnavailableError, SchemaMissingError */
export async function readDeployment(db: Queryable): Promise<DeploymentRow> {
  const { rows } = await readL3(() =>
    db.query<DeploymentRow>('SELECT deployment_id AS id, partitions FROM deployment'),
  );
  const row = rows[0];
  if (row === undefined) {
    throw new SchemaMissingError(
      'The table `deployment` is empty. Restore its row, or migrate an empty database.',
    );
  }
  return row;
}

/** Stored filters end with it: each belongs to a partition as it was. */
export async function setPartitions(db: Queryable, partitions: number): Promise<void> {
  await db.query('WITH gone AS (DELETE FROM filter_snapshots) UPDATE deployment SET partitions = $1', [
    partitions,
  ]);
}
