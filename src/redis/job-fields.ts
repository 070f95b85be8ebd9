import type { Redis } from 'ioredis';

/** What BullMQ parses of a job before any worker of ours sees it, and does without. */
const PARSED_FIELDS = ['opts', 'progress', 'parent'];

/** Drops those fields of a job that are no JSON: BullMQ could never fetch it, and it would come back for ever. */
export async function dropUnreadableFields(redis: Redis, jobKey: string): Promise<void> {
  const texts = await redis.hmget(jobKey, ...PARSED_FIELDS);
  const unreadable = PARSED_FIELDS.filter((_, i) => !isReadable(texts[i]));
  if (unreadable.length > 0) await redis.hdel(jobKey, ...unreadable);
}

function isReadable(text: string | null | undefined): boolean {
  if (text == null) return true;
  try {
    return JSON.parse(text) !== null;
  } catch {
    return false;
  }
}
