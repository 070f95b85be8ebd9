import { createHash } from 'node:crypto';
import { InvalidItemError } from '../errors.ts';

/** A place on the feed of one partition: after entry `number`, whose stream id is `id`. */
export interface LanePosition {
  readonly id: string;
  readonly number: number;
}

/** A place on the feeds of all partitions. */
export interface ChangePosition {
  /** Tells the data of Redis apart: what came before a loss says nothing about what comes after it. */
  readonly history: string;
  readonly lanes: readonly LanePosition[];
}

const FORMAT = '1';
const HISTORY_CHARS = 16;
const LANE = /^([\da-z]{1,11})-([\da-z]{1,11})-([\da-z]{1,11})$/;

/** @param epochs of the feeds, by partition */
export function historyOf(epochs: readonly string[]): string {
  return createHash('sha256').update(epochs.join()).digest('hex').slice(0, HISTORY_CHARS);
}

/** The place as the id of an event. Base 36 keeps it short: it comes back in a header, and each partition has its part. */
export function encodePosition({ history, lanes }: ChangePosition): string {
  const parts = lanes.map(({ id, number }) =>
    [...id.split('-'), number].map((part) => Number(part).toString(36)).join('-'),
  );
  return [FORMAT, history, ...parts].join('.');
}

/** @throws InvalidItemError when it is none that `encodePosition` wrote */
export function decodePosition(text: string): ChangePosition {
  const [format, history = '', ...parts] = text.split('.');
  const lanes = parts.map((part) => {
    const [ms = NaN, sequence = NaN, number = NaN] = (LANE.exec(part) ?? [])
      .slice(1)
      .map((digits) => Number.parseInt(digits, 36));
    return { id: `${ms}-${sequence}`, number, isWhole: [ms, sequence, number].every(Number.isSafeInteger) };
  });
  if (format !== FORMAT || history.length !== HISTORY_CHARS || lanes.some(({ isWhole }) => !isWhole)) {
    throw new InvalidItemError('Last-Event-ID', 'is not the id of a change');
  }
  return { history, lanes: lanes.map(({ id, number }) => ({ id, number })) };
}
