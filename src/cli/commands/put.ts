import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Option } from '@commander-js/extra-typings';
import { messageOf, TierlineError } from '../../errors.ts';
import { printable } from '../../printable.ts';
import { parseState } from '../../schema/item.ts';
import {
  action,
  command,
  type Context,
  examples,
  EXIT,
  type ExitCode,
  seconds,
  UsageError,
} from '../command.ts';
import { BrokenLineError, itemSource, type SourceOptions } from '../../schema/item-lines.ts';
import { type LoadCounts, Loader, StrictStop } from '../loader.ts';
import { duration, facts, groupedDigits, Progress } from '../terminal.ts';

const STDIN = '-';
/** Later broken lines are only counted: a wrong file of a million lines would fill the terminal. */
const MAX_REPORTED = 100;

export const put = command('put', 'Write items from a file or standard input (NDJSON or CSV)')
  .argument('[file]', 'left out, or -: standard input', STDIN)
  .option('--id <field>', 'the whole line is the content, and this field of it the id')
  .option('--state <state>', 'state of items that name none')
  .addOption(
    new Option('--format <format>', 'left out: csv for *.csv, else ndjson').choices([
      'ndjson',
      'csv',
    ] as const),
  )
  .option('--strict', 'stop at the first broken line, before anything of its chunk is queued')
  .option('--timeout <seconds>', 'longest wait for a chunk to settle; left out: as long as it takes', seconds)
  .addHelpText(
    'after',
    examples(
      ['tierline put items.ndjson', 'lines of {"id": ..., "content": ...}, as scan prints them'],
      ['tierline put cities.csv --id cityId --state imported', 'each row is a content, its cityId the id'],
      [
        'tierline scan --prefix uk. | TIERLINE_NAMESPACE=copy tierline put -',
        'copy a part to another deployment',
      ],
    ),
  )
  .action(action(load));

interface PutOptions {
  readonly id?: string;
  readonly state?: string;
  readonly format?: SourceOptions['format'];
  readonly strict?: true;
  readonly timeout?: number;
}

async function load(
  { terminal, connections, json }: Context,
  file: string,
  { id, state, format, strict, timeout }: PutOptions,
): Promise<ExitCode> {
  const { config } = connections;
  if (state !== undefined) parseState(state);
  if (file === STDIN && process.stdin.isTTY)
    throw new UsageError('[file] is missing, and nothing is piped in');
  const input = await openInput(file);

  const started = performance.now();
  let problems = 0;
  let isFull = false;
  const producer = await connections.producer();
  const loader = new Loader(producer, {
    config,
    state,
    strict: strict === true,
    timeoutMs: timeout,
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
    done: loader.counts.settled,
    waiting: loader.counts.queued - loader.counts.settled,
  }));
  const failure = await loadAll(loader, input.stream, {
    format: format ?? (file.toLowerCase().endsWith('.csv') ? 'csv' : 'ndjson'),
    idField: id,
    // A JSON line may escape every second character; base64 takes a third more.
    maxRecordBytes: 2 * config.maxContentBytes + 65_536,
  }).finally(() => progress.stop());
  const ms = performance.now() - started;
  if (failure !== undefined) terminal.complain(`tierline put: ${printable(failure)}`);
  await terminal.print(
    json ? JSON.stringify({ ...loader.counts, ms: Math.round(ms) }) : summary(loader.counts, ms),
  );
  return failure === undefined && problems === 0 ? EXIT.ok : EXIT.failed;
}

/** Returns why the load stopped before its end; undefined when it did not. */
async function loadAll(
  loader: Loader,
  stream: AsyncIterable<Buffer>,
  options: SourceOptions,
): Promise<string | undefined> {
  try {
    for await (const lines of itemSource(stream, options)) {
      for (const line of lines) await loader.add(line);
    }
    await loader.finish();
    return undefined;
  } catch (error) {
    const failure = failureOf(error, loader.submitting);
    // After a fault of the input, wait for the lines before it: the summary counts them.
    if (!(error instanceof TierlineError)) await loader.settle().catch(() => undefined);
    return failure;
  }
}

interface Input {
  readonly stream: AsyncIterable<Buffer>;
  /** Share of the input that was read; undefined when its length is not known. */
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
