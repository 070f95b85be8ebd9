/** How long what people asked for, and its result, stays on the maintenance queue. */
export const KEPT_JOBS = {
  removeOnComplete: { age: 7 * 24 * 3600, count: 100 },
  removeOnFail: { count: 100 },
} as const;
