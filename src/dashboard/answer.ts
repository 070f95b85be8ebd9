import { within } from '../abortable.ts';
import { messageOf } from '../errors.ts';

/** What one backend says, or why it says nothing: a page shows what it can. */
export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly why: string };

/** A server that went silent keeps its connections open, so a page waits for an answer no longer than this. */
const ANSWER_MS = 3000;

/** Never throws. */
export async function answerOf<T>(work: Promise<T>): Promise<Answer<T>> {
  try {
    return { ok: true, value: await within(ANSWER_MS, work) };
  } catch (error) {
    return { ok: false, why: messageOf(error) };
  }
}
