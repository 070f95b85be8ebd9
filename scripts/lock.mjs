import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const staleAfterMs = 30 * 60_000;

/**
 * Runs `work` while no other process runs work for the same `subject`. The lock is a folder that says who owns it.
 * It is prepared elsewhere and renamed into place, which fails while another one is there: no moment exists in
 * which a lock has no owner. It lives outside the checkout, because `npm ci` empties node_modules.
 */
export async function withLock(subject, log, work) {
  const hash = createHash('sha256').update(subject).digest('hex').slice(0, 16);
  const base = join(tmpdir(), `tierline-locks-${userInfo().uid}`, hash);
  const lock = join(base, 'lock');
  const token = randomUUID();
  const own = join(base, token);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  writeFileSync(join(own, 'owner'), JSON.stringify({ pid: process.pid, token, since: Date.now() }));

  for (let waited = false; !renamed(own, lock); waited = true) {
    const owner = readOwner(lock);
    if (owner !== undefined && isStale(owner)) {
      // Moved to a name only this dead owner's lock can have, and left there: whoever also found it stale, but
      // comes later, must not be able to move away the lock of its successor.
      renamed(lock, join(base, owner.token));
      continue;
    }
    if (!waited && owner !== undefined) log(`waiting for process ${owner.pid}, which does the same`);
    await sleep(200);
  }
  try {
    return await work();
  } finally {
    renameSync(lock, own);
    rmSync(own, { recursive: true, force: true });
  }
}

function renamed(from, to) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST', 'EPERM', 'ENOENT'].includes(error.code)) return false;
    throw error;
  }
}

function readOwner(lock) {
  try {
    return JSON.parse(readFileSync(join(lock, 'owner'), 'utf8'));
  } catch {
    // Released between our attempt and this look.
    return undefined;
  }
}

function isStale({ pid, since }) {
  if (Date.now() - since > staleAfterMs) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}
