import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import { OUTCOME_STATUSES, OUTCOMES } from '../schema/feed.ts';
import type { SourceLine } from '../schema/item-lines.ts';
import type { Outcome } from '../types/write.ts';
import { problemOf } from './problem.ts';

const settledTexts = Object.entries(OUTCOMES)
  .map(([status, { text }]) => `\`${status}\`: settled, ${text}.`)
  .join(' ');

/** One line of the answer to a batch. */
export const lineOutcomeSchema = z
  .object({
    line: z.int().describe('Number of the line in the request, from 1.'),
    id: z.string().optional(),
    status: z
      .enum([...OUTCOME_STATUSES, 'accepted', 'rejected', 'stopped'])
      .describe(
        `\`accepted\`: queued. ${settledTexts} \`rejected\`: not queued. \`stopped\`: from this line on nothing was queued.`,
      ),
    version: z.int().optional(),
    code: z.string().optional().describe('Of `rejected` and `stopped`: why.'),
    detail: z.string().optional(),
    retryAfterMs: z.int().optional(),
  })
  .meta({ id: 'LineOutcome' });
type LineOutcome = z.output<typeof lineOutcomeSchema>;

export function acceptedText(line: number, id: string, version: number): string {
  // By hand: of a million lines nearly all are such.
  return `{"line":${line},"id":${JSON.stringify(id)},"status":"accepted","version":${version}}\n`;
}

export function outcomeText(line: number, id: string, { status, version, reason }: Outcome): string {
  return textOf({ line, id, status, version, ...(reason !== undefined && { detail: reason }) });
}

export function refusedText(line: number, id: string, error: unknown): string {
  return textOf({ line, id, status: 'rejected', ...whyOf(error) });
}

/** Of a line that is no item. */
export function unreadableText({ line, problem }: Extract<SourceLine, { problem: string }>): string {
  return textOf({ line, status: 'rejected', ...whyOf(new InvalidItemError('line', problem)) });
}

export function stoppedText(line: number, error: unknown): string {
  return textOf({ line, status: 'stopped', ...whyOf(error) });
}

function whyOf(error: unknown): Pick<LineOutcome, 'code' | 'detail' | 'retryAfterMs'> {
  const { code, detail, retryAfterMs } = problemOf(error);
  return { code, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

function textOf(outcome: LineOutcome): string {
  return `${JSON.stringify(outcome)}\n`;
}
