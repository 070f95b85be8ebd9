import { SettleTimeoutError } from '../../errors.ts';
import type { ReplayOutcome, ReplayParts } from '../../maintenance/replay.ts';
import {
  type DeadLetter,
  type DeadLetterWithPayload,
  deleteDeadLetters,
  findDeadLetter,
  listDeadLetters,
  purgeDeadLetters,
} from '../../postgres/dead-letters.ts';
import { checkGivenMerkleKey } from '../../postgres/merkle-key.ts';
import { type Arguments, wholeNumber } from '../arguments.ts';
import type { Command, Context } from '../command.ts';
import { EXIT, type ExitCode, UsageError } from '../exit-code.ts';
import { printable } from '../../printable.ts';
import { facts, groupedDigits, table, timeOf } from '../table.ts';

const PAGE = 100;
const DAY_MS = 86_400_000;
const REPLAY_TIMEOUT_MS = 30_000;
/** Replays on their way at once: each waits for its batch, so one by one would take a batch's time each. */
const REPLAYS_AT_ONCE = 50;

const list: Command = {
  name: 'dead-letters list',
  summary: 'List the writes that Postgres refused, newest first',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {
    limit: { takes: '<letters>', help: 'at most so many; left out: 100' },
  },
  examples: [['@ dead-letters list', 'number, id, time and reason of each']],
  async run({ terminal, connections, json }, args) {
    const letters = await listDeadLetters(connections.pool(), args.integer('limit', 1) ?? PAGE);
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
  },
};

const show: Command = {
  name: 'dead-letters show',
  summary: 'Show one dead letter with its payload',
  takes: '<number>',
  minArguments: 1,
  maxArguments: 1,
  options: {},
  examples: [['@ dead-letters show 7', 'what was to be written, and why it was refused']],
  async run({ terminal, connections, json }, { positionals: [number = ''] }) {
    const letter = await findDeadLetter(connections.pool(), letterNumber(number));
    if (letter === undefined) {
      terminal.complain(`tierline dead-letters show: there is no letter ${number}`);
      return EXIT.failed;
    }
    await terminal.print(json ? JSON.stringify(letter) : humanText(letter));
    return EXIT.ok;
  },
};

const replay: Command = {
  name: 'dead-letters replay',
  summary: 'Put dead letters back into the queue with their original stamps',
  takes: '[number]...',
  minArguments: 0,
  maxArguments: 1000,
  options: {
    all: { help: 'every letter there is' },
    timeout: { takes: '<seconds>', help: 'longest wait for a drain worker; left out: 30' },
  },
  examples: [
    ['@ dead-letters replay 7', 'a newer write of the same id wins all the same'],
    ['@ dead-letters replay --all', 'after the cause was mended'],
  ],
  async run(context, args) {
    const { connections } = context;
    const numbers = numbersOf(args);
    const pool = connections.pool();
    await checkGivenMerkleKey(pool, connections.config.merkleKey);
    const seqs = numbers ?? (await allLetters(context)).map(({ seq }) => seq);
    const { openReplay } = await import('../../maintenance/open-replay.ts');
    const opened = openReplay(pool, await connections.redis(), connections.config, connections.log);
    try {
      return await replayAll(context, opened.parts, seqs, args.seconds('timeout') ?? REPLAY_TIMEOUT_MS);
    } finally {
      await opened.close();
    }
  },
};

const purge: Command = {
  name: 'dead-letters purge',
  summary: 'Drop dead letters for good',
  takes: '[number]...',
  minArguments: 0,
  maxArguments: 1000,
  options: {
    all: { help: 'every letter there is' },
    'older-than': { takes: '<days>', help: 'letters that died longer ago' },
  },
  examples: [
    ['@ dead-letters purge 7 8', 'two of them'],
    ['@ dead-letters purge --older-than 90', 'those nobody will mend any more'],
  ],
  async run({ terminal, connections, json }, args) {
    args.atMostOne('all', 'older-than');
    const days = args.integer('older-than', 0);
    if (days !== undefined && args.positionals.length > 0)
      throw new UsageError('numbers exclude --older-than');
    const numbers = days === undefined ? numbersOf(args) : undefined;
    const pool = connections.pool();
    const purged =
      numbers === undefined
        ? await purgeDeadLetters(
            pool,
            days === undefined ? Number.MAX_SAFE_INTEGER : Date.now() - days * DAY_MS,
          )
        : await deleteDeadLetters(pool, numbers);
    await terminal.print(json ? JSON.stringify({ purged }) : `${groupedDigits(purged)} purged`);
    return numbers !== undefined && purged < new Set(numbers).size ? EXIT.failed : EXIT.ok;
  },
};

export const DEAD_LETTERS: readonly Command[] = [list, show, replay, purge];

function letterNumber(text: string): number {
  return wholeNumber(text, 'the number of a letter', 1);
}

/** Undefined for `--all`. @throws UsageError */
function numbersOf(args: Arguments): number[] | undefined {
  const all = args.flag('all');
  if (all && args.positionals.length > 0) throw new UsageError('numbers exclude --all');
  if (!all && args.positionals.length === 0) throw new UsageError('[number]... or --all is missing');
  return all ? undefined : args.positionals.map(letterNumber);
}

async function allLetters({ connections }: Context): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  for (;;) {
    const page = await listDeadLetters(connections.pool(), PAGE, letters.at(-1)?.seq);
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
  // `gone` among many: a letter of an atomic call went with the first of them.
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
