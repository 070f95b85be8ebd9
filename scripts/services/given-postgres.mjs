import { refusal } from './minimum.mjs';
import { askPostgres } from './sql.mjs';
import { versionIn } from './version.mjs';

/** Checks the Postgres somebody pointed us at, and says which one it is. */
export async function checkGivenPostgres(address) {
  // Never the whole address: it may hold a password.
  const place = new URL(address).host;
  let version;
  try {
    version = versionIn(await askPostgres(address, 'SHOW server_version'));
  } catch (error) {
    throw new Error(`Postgres at ${place} (DATABASE_URL) cannot be used: ${error.message || error.code}`, {
      cause: error,
    });
  }
  const reason = refusal({ product: 'Postgres', version, place });
  if (reason !== undefined) throw new Error(reason);
  return `Postgres ${version} at ${place}`;
}
