export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export interface CallOptions {
  /** Frees the caller; work that others share goes on. */
  readonly signal?: AbortSignal;
}

export interface WaitOptions extends CallOptions {
  /** Milliseconds to wait before a `SettleTimeoutError`. Left out: as long as it takes. */
  readonly timeoutMs?: number;
}

export interface PageOptions extends CallOptions {
  /** Most items of the page, 1 to 1,000. @default 100 */
  readonly limit?: number;
  /** `next` of the page before, of any process. */
  readonly after?: string;
}

/** Items in the order of their ids' bytes. A page of large items may be shorter than its limit. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Where the next page begins: pass it as `after`, in this process or another. Absent after the last page. */
  readonly next?: string;
}
