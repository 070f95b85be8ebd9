import { messageOf } from '../errors.ts';

/**
 * What a failed command means for whoever wrote something.
 * `away`: no answer, or one that says "not now" or "not you": try again. `memory`: the server is full; what frees memory it
 * still does. `data`: it will never take this command on this key.
 */
export type RedisFailure = 'away' | 'memory' | 'data';

/**
 * Replies after which the same command can succeed: the server is busy, loading, a replica, cannot write its disk, moved the
 * slot, or has not been told who we are. Redis 6 wraps the errors of a script's commands in one of its own, so the word is
 * looked for anywhere.
 */
const NOT_NOW =
  /\b(BUSY|LOADING|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|NOSCRIPT|UNKILLABLE)\b|max number of clients/;

export function redisFailure(error: unknown): RedisFailure {
  if (!isReply(error)) return 'away';
  const message = messageOf(error);
  if (/\bOOM\b/.test(message)) return 'memory';
  return NOT_NOW.test(message) ? 'away' : 'data';
}

/** An error that Redis answered, and not one of the connection. */
function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
