import { z } from 'zod';
import { InvalidItemError, SettleTimeoutError, type TierlineError } from '../errors.ts';
import { OUTCOME_STATUSES, OUTCOMES } from '../schema/feed.ts';
import type { SourceLine } from '../schema/item-lines.ts';
import type { BatchTicket, NewItem, Outcome, Producer } from '../types/write.ts';
import { problemOf } from './problem.ts';

/** Lines that are queued together, at most. */
const GROUP_LINES = 2000;
const GROUP_BYTES = 1024 * 1024;
/** Bytes of lines that have not settled, in one call. The process keeps its writes until then. */
const UNSETTLED_BYTES = 64 * 1024 * 1024;

interface BatchOptions {
  readonly wait: 'accepted' | 'settled';
  /** How long to wait for each group of lines to settle. */
  readonly timeoutMs: number;
  /** Why the caller may not write this id. */
  readonly refusal: (id: string) => TierlineError | undefined;
}

/** What the load waits for. */
type Event =
  | { readonly kind: 'lines'; readonly lines: readonly SourceLine[] }
  | { readonly kind: 'end' | 'room' }
  /** The outcomes of the first group, as lines of text; '' when it was not queued. */
  | { readonly kind: 'told'; readonly text: string };

/** Lines that came close together. They are queued by one call, and their outcomes are told together. */
class Group {
  readonly lines: SourceLine[] = [];
  bytes = 0;
  hasBegun = false;
  readonly told: Promise<Event>;
  tell: (text: string) => void = () => undefined;

  constructor() {
    this.told = new Promise((resolve) => {
      this.tell = (text) => resolve({ kind: 'told', text });
    });
  }

  get isOpen(): boolean {
    return !this.hasBegun && this.lines.length < GROUP_LINES && this.bytes < GROUP_BYTES;
  }
}

/**
 * Queues lines as items and tells the outcome of each, in the order of the lines. A group is queued once Redis has the group before
 * it, so of two lines with one id the later wins (I1). While Redis takes a group, the next one gathers. When too much has not
 * settled, nothing is read until some of it has: the sender waits.
 *
 * It stops early when the input cannot be read on, or when Redis takes nothing of a group. Its last line then names the first line
 * that was not queued.
 */
export class BatchLoad {
  readonly #producer: Pick<Producer, 'submitMany'>;
  readonly #options: BatchOptions;
  readonly #groups: Group[] = [];
  readonly #counts = { lines: 0, accepted: 0 };
  #unsettledBytes = 0;
  #hasRoom: () => void = () => undefined;
  #isQueueing = false;
  #stop: { readonly line: number; readonly error: unknown } | undefined;

  constructor(producer: Pick<Producer, 'submitMany'>, options: BatchOptions) {
    this.#producer = producer;
    this.#options = options;
  }

  /** Lines read, and those of them that were accepted. */
  get counts(): { readonly lines: number; readonly accepted: number } {
    return this.#counts;
  }

  /** Why it stopped early. */
  get failure(): unknown {
    return this.#stop?.error;
  }

  /** The outcomes, several lines of text at a time. */
  async *outcomes(source: AsyncIterable<SourceLine[]>): AsyncGenerator<string, void, undefined> {
    const input = source[Symbol.asyncIterator]();
    let reading: Promise<Event> | undefined = this.#read(input);
    while (reading !== undefined || this.#groups.length > 0) {
      const isFull = this.#unsettledBytes >= UNSETTLED_BYTES;
      const event = await Promise.race([
        ...this.#groups.slice(0, 1).map(({ told }) => told),
        ...(reading === undefined ? [] : [isFull ? this.#room() : reading]),
      ]);
      if (event.kind === 'told') {
        this.#groups.shift();
        if (event.text !== '') yield event.text;
      } else if (event.kind === 'lines') {
        this.#add(event.lines);
        reading = this.#read(input);
      }
      if (event.kind === 'end' || this.#stop !== undefined) reading = undefined;
    }
    if (this.#stop !== undefined) yield stoppedText(this.#stop.line, this.#stop.error);
  }

  async #read(input: AsyncIterator<SourceLine[], unknown>): Promise<Event> {
    try {
      const next = await input.next();
      return next.done === true ? { kind: 'end' } : { kind: 'lines', lines: next.value };
    } catch (error) {
      this.#stop ??= { line: this.#counts.lines + 1, error };
      return { kind: 'end' };
    }
  }

  /** Resolves when something has settled. */
  #room(): Promise<Event> {
    return new Promise((resolve) => {
      this.#hasRoom = () => resolve({ kind: 'room' });
    });
  }

  #add(lines: readonly SourceLine[]): void {
    for (const line of lines) {
      let group = this.#groups.at(-1);
      if (group === undefined || !group.isOpen) {
        group = new Group();
        this.#groups.push(group);
      }
      group.lines.push(line);
      group.bytes += line.bytes;
      this.#unsettledBytes += line.bytes;
      this.#counts.lines++;
    }
    if (!this.#isQueueing) void this.#queueAll();
  }

  async #queueAll(): Promise<void> {
    this.#isQueueing = true;
    for (;;) {
      const group = this.#groups.find(({ hasBegun }) => !hasBegun);
      if (group === undefined) break;
      group.hasBegun = true;
      await this.#queue(group);
    }
    this.#isQueueing = false;
  }

  /** Resolves when Redis has the group. */
  async #queue(group: Group): Promise<void> {
    const answers: string[] = [];
    const items: NewItem[] = [];
    /** Their places in the group. */
    const places: number[] = [];
    group.lines.forEach((line, at) => {
      const answer = 'problem' in line ? unreadableText(line) : this.#refusedText(line.line, line.item);
      if (answer !== undefined) answers[at] = answer;
      else if ('item' in line) {
        items.push(line.item);
        places.push(at);
      }
    });
    const first = (group.lines[0] as SourceLine).line;
    // A group after one that was not queued is not queued either: its ids could be in both.
    if (this.#stop !== undefined && this.#stop.line <= first) return group.tell('');
    try {
      const batch = items.length === 0 ? undefined : await this.#producer.submitMany(items);
      void this.#tell(group, answers, places, batch);
    } catch (error) {
      this.#stop = { line: first, error };
      group.tell('');
    }
  }

  #refusedText(line: number, { id }: NewItem): string | undefined {
    const error = typeof id === 'string' ? this.#options.refusal(id) : undefined;
    return error === undefined ? undefined : refusedText(line, id, error);
  }

  /** Tells the outcomes when they are wanted. */
  async #tell(
    group: Group,
    answers: string[],
    places: readonly number[],
    batch: BatchTicket | undefined,
  ): Promise<void> {
    const { lines } = group;
    const lineAt = (at: number) => (lines[at] as SourceLine).line;
    for (const { index, id, error } of batch?.rejected ?? []) {
      const at = places[index] as number;
      answers[at] = refusedText(lineAt(at), id, error);
    }
    const accepted = places.filter((at) => answers[at] === undefined);
    this.#counts.accepted += accepted.length;
    const settling = this.#settling(group, batch);
    const outcomes = this.#options.wait === 'settled' ? await settling : undefined;
    accepted.forEach((at, i) => {
      const { id, version } = (batch as BatchTicket).tickets[i] as {
        readonly id: string;
        readonly version: number;
      };
      const outcome = outcomes?.[i];
      answers[at] =
        outcome === undefined ? acceptedText(lineAt(at), id, version) : outcomeText(lineAt(at), id, outcome);
    });
    group.tell(answers.join(''));
  }

  /** The outcomes; undefined when they are not known in time. */
  async #settling(group: Group, batch: BatchTicket | undefined): Promise<readonly Outcome[] | undefined> {
    try {
      const { wait, timeoutMs } = this.#options;
      const settled = await batch?.settled(wait === 'settled' ? { timeoutMs } : {});
      return settled?.outcomes;
    } catch (error) {
      if (!(error instanceof SettleTimeoutError)) this.#stop ??= { line: this.#counts.lines + 1, error };
      return undefined;
    } finally {
      this.#unsettledBytes -= group.bytes;
      this.#hasRoom();
    }
  }
}

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

function acceptedText(line: number, id: string, version: number): string {
  // By hand: of a million lines nearly all are such.
  return `{"line":${line},"id":${JSON.stringify(id)},"status":"accepted","version":${version}}\n`;
}

function outcomeText(line: number, id: string, { status, version, reason }: Outcome): string {
  return textOf({ line, id, status, version, ...(reason !== undefined && { detail: reason }) });
}

function refusedText(line: number, id: string, error: unknown): string {
  return textOf({ line, id, status: 'rejected', ...whyOf(error) });
}

/** Of a line that is no item. */
function unreadableText({ line, problem }: Extract<SourceLine, { problem: string }>): string {
  return textOf({ line, status: 'rejected', ...whyOf(new InvalidItemError('line', problem)) });
}

function stoppedText(line: number, error: unknown): string {
  return textOf({ line, status: 'stopped', ...whyOf(error) });
}

function whyOf(error: unknown): Pick<LineOutcome, 'code' | 'detail' | 'retryAfterMs'> {
  const { code, detail, retryAfterMs } = problemOf(error);
  return { code, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

function textOf(outcome: LineOutcome): string {
  return `${JSON.stringify(outcome)}\n`;
}
