import type { Pool } from '../../src/postgres/pool.ts';

/** Postgres refuses every row whose content holds the word "poison", until `lift`. */
export async function refusePoison(pool: Pool): Promise<{ lift: () => Promise<void> }> {
  await pool.query(`CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no poison here' USING ERRCODE = '23514'; END $$`);
  await pool.query(`CREATE TRIGGER refuse_poison BEFORE INSERT OR UPDATE ON items FOR EACH ROW
    WHEN (NEW.content::text LIKE '%poison%') EXECUTE FUNCTION refuse_poison()`);
  return {
    async lift() {
      await pool.query('DROP TRIGGER refuse_poison ON items');
    },
  };
}
