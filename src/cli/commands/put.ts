import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { messageOf, TierlineError } from '../../errors.ts';
import { parseState } from '../../schema/item.ts';
import type { Arguments } from '../arguments.ts';
import type { Command, Context } from '../command.ts';
import { EXIT, type ExitCode, UsageError } from '../exit-code.ts';
import { BrokenLineError } from '../input/item-line.ts';
import { itemSource, type SourceOptions } from '../input/item-source.ts';
import { type LoadCounts, Loader, StrictStop } from '../loader.ts';
import { Progress } from '../progress.ts';
import { printable } from '../../printable.ts';
import { duration, facts, groupedDigits } from '../table.ts';

const STDIN = '-';
/** Further broken lines are only counted: a wrong file of a million lines shall not scroll a terminal away. */
const MAX_REPORTED = 100;

export const put: Command = {
  name: 'put',
  summary: 'Write items from a file or standard input (NDJSON or CSV)',
  takes: '[file]',
  minArguments: 0,
  maxArguments: 1,
  options: {
    id: { takes: '<field>', help: 'the whole line is the content, and this field of it the id' },
    state: { takes: '<state>', help: 'state of items that name none' },
    format: { takes: '<ndjson|csv>', help: 'left out: csv for *.csv, else ndjson' },
    strict: { help: 'stop at the first broken line, before anything of its chunk is queued' },
    timeout: {
      takes: '<seconds>',
      help: 'longest wait for a chunk to settle; left out: as long as it takes',
    },
  },
  examples: [
    ['@ put items.ndjson', 'lines of {"id": ..., "content": ...}, as scan prints them'],
    ['@ put cities.csv --id cityId --state imported', 'each row is a content, its cityId the id'],
    ['@ scan --prefix uk. | TIERLINE_NAMESPACE=copy @ put -', 'copy a part to another deployment'],
  ],
  run: runPut,
};

async function runPut({ terminal, connections, json }: Context, args: Arguments): Promise<ExitCode> {
  const { config } = connections;
  const state = args.text('state');
  if (state !== undefined) parseState(state);
  const file = args.positionals[0] ?? STDIN;
  const timeoutMs = args.seconds('timeout');
  if (file === STDIN && process.stdin.isTTY)
    throw new UsageError('[file] is missing, and nothing is piped in');
  const format =
    args.choice('format', ['ndjson', 'csv']) ?? (file.toLowerCase().endsWith('.csv') ? 'csv' : 'ndjson');
  const options: SourceOptions = {
    format,
    idField: args.text('id'),
    // A JSON line may escape every second character; base64 takes a third more.
    maxRecordBytes: 2 * config.maxContentBytes + 65_536,
  };
  const input = await openInput(file);

  const started = performance.now();
  let problems = 0;
  let isFull = false;
  const producer = await connections.producer();
  const loader = new Loader(producer, {
    config,
    state,
    strict: args.flag('strict'),
    timeoutMs,
    onProblem(line, problem) {
      problems++;
      if (problems <= MAX_REPORTED) terminal.complain(`line ${groupedDigits(line)}: ${printable(problem)}`);
      if (problems === MAX_REPORTED + 1) terminal.complain('more lines failed; they are counted below');
    },
    onFull({ message }) {
      if (!isFull) terminal.complain(`${message.replace(/ Nothing was queued.*/, '')} Waiting for room`);
      isFull = true;
    },
  });
  const progress = new Progress(terminal, () => ({
    share: input.share(),
    settled: loader.counts.settled,
    waiting: loader.counts.queued - loader.counts.settled,
  }));
  let failure: string | undefined;
  try {
    for await (const lines of itemSource(input.stream, options)) {
      for (const line of lines) await loader.add(line);
    }
    await loader.finish();
  } catch (error) {
    failure = failureOf(error, loader.submitting);
    // A fault of the input: what was queued before it goes on and belongs into the summary.
    if (!(error instanceof TierlineError)) await loader.settle().catch(() => undefined);
  } finally {
    progress.stop();
  }
  const ms = performance.now() - started;
  if (failure !== undefined) terminal.complain(`tierline put: ${printable(failure)}`);
  await terminal.print(
    json ? JSON.stringify({ ...loader.counts, ms: Math.round(ms) }) : summary(loader.counts, ms),
  );
  return failure === undefined && problems === 0 ? EXIT.ok : EXIT.failed;
}

interface Input {
  readonly stream: AsyncIterable<Buffer>;
  /** Share of it that was read; undefined for a stream without a known end. */
  share(): number | undefined;
}

async function openInput(file: string): Promise<Input> {
  if (file === STDIN) return { stream: process.stdin, share: () => undefined };
  try {
    const { size } = await stat(file);
    const stream = createReadStream(file, { highWaterMark: 64 * 1024 });
    await new Promise<void>((resolve, reject) => stream.once('open', () => resolve()).once('error', reject));
    return { stream, share: () => (size === 0 ? undefined : Math.min(1, stream.bytesRead / size)) };
  } catch (error) {
    throw new Error(`${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function failureOf(error: unknown, line: number | undefined): string {
  if (error instanceof StrictStop) return 'stopped by --strict; nothing of this chunk was queued';
  if (error instanceof BrokenLineError) return messageOf(error);
  if (error instanceof TierlineError) {
    const from = line === undefined ? '' : `, from line ${groupedDigits(line)} on nothing was queued`;
    return `${error.message} (${error.code})${from}`;
  }
  return messageOf(error);
}

function summary(counts: LoadCounts, ms: number): string {
  return facts([
    ['lines read', counts.read],
    ['broken', counts.broken],
    ['queued', counts.queued],
    ['settled', counts.settled],
    ['superseded', counts.superseded],
    ['dead', counts.dead],
    ['took', duration(ms)],
    ['settled per second', Math.round((counts.settled * 1000) / Math.max(1, ms))],
  ]);
}
