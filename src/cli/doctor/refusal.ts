import { messageOf } from '../../errors.ts';
import { sqlState } from '../../postgres/pool.ts';

/** What to do about a Redis that did not answer as it should. @param variable the one with its URL */
export function redisFix(error: unknown, variable: string): string {
  const message = messageOf(error);
  if (/NOAUTH/.test(message)) return `give the password of the server in ${variable}: redis://:password@host`;
  if (/WRONGPASS|invalid password|invalid username-password/i.test(message)) {
    return `correct user and password in ${variable}`;
  }
  if (/NOPERM/.test(message)) {
    return `give the user of ${variable} the rights (ACL SETUSER … ~* &* +@all)`;
  }
  return `start the server, or correct ${variable}`;
}

/** What to do about a Postgres that did not answer as it should. */
export function postgresFix(error: unknown): string {
  const state = sqlState(error) ?? sqlState(error instanceof Error ? error.cause : undefined);
  switch (state) {
    case '28P01':
    case '28000':
      return 'correct user and password in DATABASE_URL, or let the user in with pg_hba.conf';
    case '3D000':
      return 'create the database, or correct its name in DATABASE_URL';
    case '42501':
      return 'grant the role of DATABASE_URL the rights on the tables, or use the role that owns them';
    case '53300':
      return 'raise max_connections, or lower TIERLINE_POOL_SIZE';
    default:
      return 'start the server, or correct DATABASE_URL';
  }
}
