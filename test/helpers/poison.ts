/** A pool, or all databases of a deployment. */
interface Databases {
  query(statement: string): Promise<unknown>;
}

/** Postgres refuses every row whose content holds the word "poison", until `lift`. */
export async function refusePoison(databases: Databases): Promise<{ lift: () => Promise<void> }> {
  await databases.query(`CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no poison here' USING ERRCODE = '23514'; END $$`);
  await databases.query(`CREATE TRIGGER refuse_poison BEFORE INSERT OR UPDATE ON items FOR EACH ROW
    WHEN (NEW.content::text LIKE '%poison%') EXECUTE FUNCTION refuse_poison()`);
  return {
    async lift() {
      await databases.query('DROP TRIGGER refuse_poison ON items');
    },
  };
}

/** Postgres refuses to make tombstones of these rows, until `lift`. */
export async function refuseDeath(
  databases: Databases,
  ids: readonly string[],
): Promise<{ lift: () => Promise<void> }> {
  await databases.query(`CREATE FUNCTION refuse_death() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'this one stays' USING ERRCODE = '23514'; END $$`);
  await databases.query(`CREATE TRIGGER refuse_death BEFORE UPDATE ON items FOR EACH ROW
    WHEN (NEW.deleted AND NOT OLD.deleted AND NEW.id IN (${ids.map((id) => `'${id}'`).join()}))
    EXECUTE FUNCTION refuse_death()`);
  return {
    async lift() {
      await databases.query('DROP TRIGGER refuse_death ON items');
    },
  };
}
