import { Command, Option } from '@commander-js/extra-typings';
import { SettleTimeoutError } from '../../errors.ts';
import type { ReplayOutcome, ReplayParts } from '../../maintenance/replay.ts';
import {
  type DeadLetter,
  type DeadLetterWithPayload,
  deleteLetters,
  findLetter,
  listLetters,
  purgeLetters,
} from '../../postgres/dead-letters.ts';
import { checkGivenMerkleKey } from '../../postgres/merkle-key.ts';
import { printable } from '../../printable.ts';
import {
  action,
  command,
  type Context,
  examples,
  EXIT,
  type ExitCode,
  seconds,
  UsageError,
  wholeNumber,
} from '../command.ts';
import { facts, groupedDigits, table, timeOf } from '../terminal.ts';

const PAGE = 100;
const DAY_MS = 86_400_000;
const REPLAY_TIMEOUT_MS = 30_000;
/** How many letters are replayed at once. Each waits for its batch, so one after the other would be slow. */
const REPLAYS_AT_ONCE = 50;

const list = command('list', 'List the writes that Postgres refused, newest first')
  .option('--limit <letters>', 'at most so many; left out: 100', wholeNumber(1))
  .addHelpText('after', examples(['tierline dead-letters list', 'number, id, time and reason of each']))
  .action(
    action(async ({ terminal, connections, json }, { limit = PAGE }) => {
      const letters = await listLetters(connections.shards, limit);
      if (json) {
        for (const letter of letters) await terminal.print(JSON.stringify(letter));
      } else if (letters.length === 0) {
        await terminal.print('no dead letters');
      } else {
        const rows = letters.map(({ seq, itemId, diedAtMs, attempts, sqlState, message }) => [
          String(seq),
          itemId,
          timeOf(diedAtMs),
          attempts,
          sqlState,
          message,
        ]);
        await terminal.print(table(['number', 'id', 'died', 'attempts', 'SQLSTATE', 'reason'], rows));
      }
      return EXIT.ok;
    }),
  );

const show = command('show', 'Show one dead letter with its payload')
  .argument('<number>', 'as `dead-letters list` shows it', wholeNumber(1))
  .addHelpText(
    'after',
    examples(['tierline dead-letters show 7', 'what was to be written, and why it was refused']),
  )
  .action(
    action(async ({ terminal, connections, json }, number) => {
      const letter = await findLetter(connections.shards, number);
      if (letter === undefined) {
        terminal.complain(`tierline dead-letters show: there is no letter ${number}`);
        return EXIT.failed;
      }
      await terminal.print(json ? JSON.stringify(letter) : humanText(letter));
      return EXIT.ok;
    }),
  );

const replay = command('replay', 'Put dead letters back into the queue with their original stamps')
  .argument('[number...]', 'as `dead-letters list` shows them', letterNumbers)
  .option('--all', 'every letter there is')
  .option('--timeout <seconds>', 'longest wait for a drain worker; left out: 30', seconds)
  .addHelpText(
    'after',
    examples(
      ['tierline dead-letters replay 7', 'a newer write of the same id wins all the same'],
      ['tierline dead-letters replay --all', 'after the cause was mended'],
    ),
  )
  .action(
    action(async (context, numbers = [], { all, timeout = REPLAY_TIMEOUT_MS }) => {
      checkNumbers(numbers, all);
      const { connections } = context;
      const { shards } = connections;
      await shards.known();
      await shards.each(({ pool }) => checkGivenMerkleKey(pool, connections.config.merkleKey));
      const seqs = all ? (await allLetters(context)).map(({ seq }) => seq) : numbers;
      const { openReplay } = await import('../../maintenance/replay.ts');
      const opened = openReplay(
        shards,
        await connections.redis(),
        await connections.lanes(),
        connections.config,
        connections.log,
      );
      try {
        return await replayAll(context, opened.parts, seqs, timeout);
      } finally {
        await opened.close();
      }
    }),
  );

const purge = command('purge', 'Drop dead letters for good')
  .argument('[number...]', 'as `dead-letters list` shows them', letterNumbers)
  .addOption(new Option('--all', 'every letter there is').conflicts('olderThan'))
  .option('--older-than <days>', 'letters that died longer ago', wholeNumber(0))
  .addHelpText(
    'after',
    examples(
      ['tierline dead-letters purge 7 8', 'two of them'],
      ['tierline dead-letters purge --older-than 90', 'the old ones'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, numbers = [], { all, olderThan }) => {
      if (olderThan === undefined) checkNumbers(numbers, all);
      else if (numbers.length > 0) throw new UsageError('numbers exclude --older-than');
      const { shards } = connections;
      const before = olderThan === undefined ? Number.MAX_SAFE_INTEGER : Date.now() - olderThan * DAY_MS;
      const purged =
        numbers.length > 0 ? await deleteLetters(shards, numbers) : await purgeLetters(shards, before);
      await terminal.print(json ? JSON.stringify({ purged }) : `${groupedDigits(purged)} purged`);
      return purged < new Set(numbers).size ? EXIT.failed : EXIT.ok;
    }),
  );

export const deadLetters = new Command('dead-letters')
  .description('The writes that Postgres refused')
  .addCommand(list)
  .addCommand(show)
  .addCommand(replay)
  .addCommand(purge);

function letterNumbers(value: string, before: readonly number[] = []): readonly number[] {
  return [...before, wholeNumber(1)(value)];
}

/** @throws UsageError unless either numbers or `--all` are given */
function checkNumbers(numbers: readonly number[], all: true | undefined): void {
  if (all && numbers.length > 0) throw new UsageError('numbers exclude --all');
  if (!all && numbers.length === 0) throw new UsageError('[number]... or --all is missing');
}

async function allLetters({ connections }: Context): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  for (;;) {
    const page = await listLetters(connections.shards, PAGE, letters.at(-1)?.seq);
    letters.push(...page);
    if (page.length < PAGE) return letters;
  }
}

async function replayAll(
  { terminal, json }: Context,
  parts: ReplayParts,
  seqs: readonly number[],
  timeoutMs: number,
): Promise<ExitCode> {
  const outcomes: { seq: number; outcome: ReplayOutcome }[] = [];
  for (let at = 0; at < seqs.length; at += REPLAYS_AT_ONCE) {
    const group = seqs.slice(at, at + REPLAYS_AT_ONCE);
    const signal = AbortSignal.timeout(timeoutMs);
    const done = await Promise.all(group.map((seq) => replayInTime(parts, seq, signal, timeoutMs)));
    outcomes.push(...done.map((outcome, i) => ({ seq: group[i] as number, outcome })));
  }
  if (json) {
    for (const { seq, outcome } of outcomes) await terminal.print(JSON.stringify({ seq, ...outcome }));
  } else if (outcomes.length === 0) {
    await terminal.print('no dead letters');
  } else {
    const rows = outcomes.map(({ seq, outcome }) => [String(seq), outcome.status, outcome.reason ?? '']);
    await terminal.print(table(['number', 'outcome', 'reason'], rows));
  }
  // The letters of an atomic call are replayed together: after the first one, the others are `gone`.
  const fine = new Set(['replayed', 'superseded', 'missing', ...(seqs.length > 1 ? ['gone'] : [])]);
  return outcomes.every(({ outcome }) => fine.has(outcome.status)) ? EXIT.ok : EXIT.failed;
}

async function replayInTime(
  parts: ReplayParts,
  seq: number,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<ReplayOutcome> {
  try {
    const { replayLetter } = await import('../../maintenance/replay.ts');
    return await replayLetter(parts, seq, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new SettleTimeoutError(
      `The replay has not settled within ${timeoutMs / 1000} s; is a drain worker running? The letter stays, and replaying it again is harmless.`,
      { cause: error },
    );
  }
}

function humanText(letter: DeadLetterWithPayload): string {
  const head = facts([
    ['number', String(letter.seq)],
    ['id', letter.itemId],
    ['stamp', String(letter.stamp)],
    ['died', timeOf(letter.diedAtMs)],
    ['attempts', letter.attempts],
    ['SQLSTATE', letter.sqlState],
    ['reason', letter.message],
    ['chunk', letter.chunkId],
    ['payload bytes', letter.payloadBytes],
  ]);
  return `${head}\n\n${printable(letter.payload)}`;
}
