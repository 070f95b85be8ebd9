import type { Stamp } from '../clock.ts';

/**
 * Which of two values a register keeps. The larger stamp wins. One clock never gives a stamp twice, but the clocks of two
 * deployments that exchange writes can give the same microsecond. So that both end with the same row, an equal stamp is decided
 * by the values:
 *
 * - content: a delete wins over any content, and of two contents the larger SHA-256 wins, compared by bytes;
 * - state: the larger text wins, compared by its UTF-8 bytes.
 *
 * The same rule stands in `postgres/apply-batch.ts` (`newest`), `postgres/range-deletes.ts` and `redis/scripts/set-newer.lua`.
 */
export interface ContentValue {
  readonly contentVersion: Stamp;
  readonly deleted: boolean;
  /** SHA-256, hex; '' when deleted. */
  readonly contentHash: string;
}

export interface StateValue {
  readonly stateVersion: Stamp;
  readonly state: string;
}

export function isNewerContent(a: ContentValue, b: ContentValue): boolean {
  if (a.contentVersion !== b.contentVersion) return a.contentVersion > b.contentVersion;
  return !b.deleted && (a.deleted || a.contentHash > b.contentHash);
}

export function isNewerState(a: StateValue, b: StateValue): boolean {
  if (a.stateVersion !== b.stateVersion) return a.stateVersion > b.stateVersion;
  return a.state !== b.state && isLargerText(a.state, b.state);
}

/** By UTF-8 bytes, as Postgres (COLLATE "C") and Redis compare. JavaScript's own order differs above U+D7FF. */
export function isLargerText(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) > 0;
}

/** Both have this register, with the same stamp and another value. */
export function isTie(a: ContentValue & StateValue, b: ContentValue & StateValue): boolean {
  return (
    isContentTie(a, b) || (a.stateVersion > 0 && a.stateVersion === b.stateVersion && a.state !== b.state)
  );
}

function isContentTie(a: ContentValue, b: ContentValue): boolean {
  return (
    a.contentVersion > 0 &&
    a.contentVersion === b.contentVersion &&
    (a.deleted !== b.deleted || a.contentHash !== b.contentHash)
  );
}

/** Whether `a` is the content that `b` has. */
export function isSameContent(a: ContentValue, b: ContentValue): boolean {
  return a.contentVersion === b.contentVersion && !isContentTie(a, b);
}

/**
 * A content as readers compare it with others of its stamp: a number that is larger for the content that wins. It is the first
 * 48 bits of the hash, because a reader keeps many.
 */
export type ContentRank = number;
/** Nothing is known of the content: no other of its stamp counts as older or newer. */
export const RANK_UNKNOWN: ContentRank = -2;
/** It is not deleted; its hash is not known. */
export const RANK_LIVE: ContentRank = -1;
export const RANK_DELETED: ContentRank = 2 ** 48;
const RANK_CHARS = 12;

/** @param contentHash hex; '' when it is not known */
export function contentRank(deleted: boolean, contentHash: string): ContentRank {
  if (deleted) return RANK_DELETED;
  return contentHash === '' ? RANK_LIVE : Number.parseInt(contentHash.slice(0, RANK_CHARS), 16);
}

/** Whether content of rank `a` loses against one of rank `b` and the same stamp, as far as is known. */
export function isLowerRank(a: ContentRank, b: ContentRank): boolean {
  if (b <= RANK_LIVE || a === RANK_UNKNOWN) return false;
  return a === RANK_LIVE ? b === RANK_DELETED : a < b;
}
