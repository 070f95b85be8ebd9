import { execFileSync } from 'node:child_process';

/** Whom Postgres runs as: it refuses to be root. Undefined when we are not root. */
export function serverUser() {
  if (process.getuid() !== 0) return undefined;
  const user = idsOf('postgres') ?? idsOf('nobody');
  if (user === undefined)
    throw new Error('Postgres cannot run as root, and there is no user postgres or nobody');
  return user;
}

function idsOf(name) {
  try {
    const [uid, gid] = ['-u', '-g'].map((option) =>
      Number(execFileSync('id', [option, name], { encoding: 'utf8', stdio: 'pipe' })),
    );
    return { uid, gid };
  } catch {
    return undefined;
  }
}
