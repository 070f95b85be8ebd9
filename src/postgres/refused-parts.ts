import { boundedReason, messageOf } from '../errors.ts';
import { failureKind, type Queryable, sqlState } from './pool.ts';

export interface Refusal {
  readonly message: string;
  readonly sqlState: string | undefined;
}

/**
 * Writes what Postgres takes of `units`: halves them under savepoints until each refused one is alone (I9).
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
