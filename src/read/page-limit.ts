import { InvalidItemError } from '../errors.ts';

export const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

/** @throws InvalidItemError */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new InvalidItemError('limit', `must be 1 to ${MAX_LIMIT}`);
  }
}
