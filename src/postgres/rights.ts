import { UnsafeServerError } from '../errors.ts';
import { type Pool, readL3 } from './pool.ts';

/** What a drain does with each table. */
const DRAIN_NEEDS: Readonly<Record<string, readonly string[]>> = {
  items: ['SELECT', 'INSERT', 'UPDATE'],
  merkle_delta: ['INSERT'],
  merkle_key: ['SELECT', 'INSERT'],
  dead_letters: ['INSERT'],
  range_deletes: ['SELECT', 'INSERT', 'UPDATE'],
};

export interface Rights {
  readonly role: string;
  /** What the role may not do, as `INSERT on items`; empty when it may do all that a drain does. */
  readonly missing: readonly string[];
  /** The statement that gives it all, for the owner of the tables to run. */
  readonly grant: string;
}

/** What the connected role may not do that a drain does; tables that are missing are not looked at. @throws TierUnavailableError */
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

/** @throws UnsafeServerError with the statement to run, when a drain could write nothing */
export async function checkDrainRights(pool: Pool): Promise<void> {
  const { role, missing, grant } = await drainRights(pool);
  if (missing.length === 0) return;
  throw new UnsafeServerError(
    `The role ${role} of DATABASE_URL may not write: it lacks ${missing.join(', ')}. As the owner of the tables run: ${grant};`,
  );
}
