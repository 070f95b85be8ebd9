import { z } from 'zod';

const NO_URL = 'is not a URL; write special characters of user and password as %XX';

export const redisUrl = urlOf(/^rediss?:\/\//, 'must start with redis:// or rediss://');
export const postgresUrl = urlOf(/^postgres(ql)?:\/\//, 'must start with postgres:// or postgresql://');

function urlOf(scheme: RegExp, otherwise: string) {
  return z.string().regex(scheme, { error: otherwise, abort: true }).refine(isUrl, NO_URL);
}

/** Whether drivers can take it apart: they decode user, password and path. */
function isUrl(value: string): boolean {
  try {
    const { username, password, hostname, pathname } = new URL(value);
    return [username, password, hostname, pathname].every((part) => decodeURIComponent(part) !== undefined);
  } catch {
    return false;
  }
}

/** Protocol, host and port of a URL: what may stand in messages. */
export function serverOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}
