import { pause } from '../../abortable.ts';
import { Command } from '@commander-js/extra-typings';
import { stampToMs } from '../../clock.ts';
import { SettleTimeoutError } from '../../errors.ts';
import { MAINTENANCE_QUEUE } from '../../keys.ts';
import type { LostOutcome, LostWrite, LostWriteParts } from '../../maintenance/lost-writes.ts';
import { Digester } from '../../merkle/digest.ts';
import { claimMerkleKeys } from '../../postgres/merkle-key.ts';
import { type CopyTurn, countLost, lostIds, MAX_LISTED } from '../../redis/copies.ts';
import { versionOf } from '../../schema/stored-item.ts';
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
import { duration, facts, groupedDigits, table, timeOf } from '../terminal.ts';

const LISTED = 100;
/** How many ids are written back together. */
const GROUP = 100;
const SWEEP_TIMEOUT_MS = 3_600_000;
const POLL_MS = 200;

const lost = command('lost', 'List settled writes that Redis still has and Postgres has lost')
  .option('--limit <writes>', 'at most so many; left out: 100', wholeNumber(1))
  .addHelpText(
    'after',
    examples(['tierline copies lost', 'id, time and kind of each, and what Postgres has instead']),
  )
  .action(
    action(async (context, { limit = LISTED }) => {
      const { terminal, json } = context;
      const { lostWrites } = await import('../../maintenance/lost-writes.ts');
      const parts = await partsOf(context);
      const total = await countLost(parts.queue, parts.lanes.home);
      const writes = await lostWrites(parts, await lostIds(parts.queue, parts.lanes.home, limit));
      if (json) {
        for (const write of writes) await terminal.print(JSON.stringify(described(write)));
      } else if (writes.length === 0) {
        await terminal.print('no lost writes');
      } else {
        const rows = writes
          .map(described)
          .map(({ id, writtenMs, kind, version, rowVersion }) => [
            id,
            kind,
            timeOf(writtenMs),
            String(version),
            rowVersion === null ? 'no row' : String(rowVersion),
          ]);
        await terminal.print(table(['id', 'write', 'written', 'version', 'in Postgres'], rows));
        if (total > writes.length) terminal.complain(`${groupedDigits(total)} in all`);
      }
      return EXIT.ok;
    }),
  );

const restore = command('restore', 'Write lost writes back into Postgres with their original stamps')
  .argument('[id...]')
  .option('--all', 'every listed one')
  .addHelpText(
    'after',
    examples(
      ['tierline copies restore user.1', 'a newer write of the same id wins all the same'],
      ['tierline copies restore --all', 'after a failover to a replica that lagged'],
    ),
  )
  .action(
    action(async (context, ids, { all }) => {
      const { restoreCopies } = await import('../../maintenance/lost-writes.ts');
      return act(context, ids, all, restoreCopies);
    }),
  );

const discard = command('discard', 'Give lost writes up: Redis gets what Postgres has')
  .argument('[id...]')
  .option('--all', 'every listed one')
  .addHelpText(
    'after',
    examples(['tierline copies discard user.1', 'after the item was restored in another way']),
  )
  .action(
    action(async (context, ids, { all }) => {
      const { discardCopies } = await import('../../maintenance/lost-writes.ts');
      return act(context, ids, all, discardCopies);
    }),
  );

const sweep = command('sweep', 'Compare every copy in Redis with its row now, and repair what differs')
  .option('--timeout <seconds>', 'longest wait for maintenance; left out: an hour', seconds)
  .addHelpText(
    'after',
    examples(['tierline copies sweep', 'what was found; exit code 1 when writes are lost']),
  )
  .action(
    action(async (context, { timeout = SWEEP_TIMEOUT_MS }) => {
      const turn = await sweepNow(context, timeout);
      if (turn === undefined) return EXIT.failed;
      await context.terminal.print(context.json ? JSON.stringify(turn) : report(turn));
      return turn.figures.lost === 0 ? EXIT.ok : EXIT.failed;
    }),
  );

export const copies = new Command('copies')
  .description('Copies in Redis against rows in Postgres')
  .addCommand(lost)
  .addCommand(restore)
  .addCommand(discard)
  .addCommand(sweep);

async function partsOf({ connections }: Context): Promise<LostWriteParts> {
  const { config } = connections;
  const { shards } = connections;
  await shards.known();
  await claimMerkleKeys(shards, config.merkleKey);
  const { cache, items } = await connections.copies();
  const digester = new Digester(config.merkleKey);
  const queue = await connections.redis();
  return { shards, queue, cache, items, lanes: await connections.lanes(), digester, config };
}

function described({ id, copy, row }: LostWrite) {
  const version = versionOf(copy);
  const kinds = { json: 'JSON', binary: 'binary', deleted: 'delete', fence: 'not in Redis' } as const;
  return {
    id,
    kind: kinds[copy.kind],
    version,
    writtenMs: stampToMs(version),
    rowVersion: row === undefined ? null : versionOf(row),
  };
}

async function act(
  context: Context,
  given: readonly string[],
  all: true | undefined,
  settle: (parts: LostWriteParts, ids: readonly string[]) => Promise<LostOutcome[]>,
): Promise<ExitCode> {
  const { terminal, json } = context;
  if (all && given.length > 0) throw new UsageError('ids exclude --all');
  if (!all && given.length === 0) throw new UsageError('[id]... or --all is missing');
  const parts = await partsOf(context);
  const ids = all ? await lostIds(parts.queue, parts.lanes.home, MAX_LISTED) : [...new Set(given)];
  const outcomes: LostOutcome[] = [];
  for (let at = 0; at < ids.length; at += GROUP) {
    outcomes.push(...(await settle(parts, ids.slice(at, at + GROUP))));
  }
  if (json) {
    for (const outcome of outcomes) await terminal.print(JSON.stringify(outcome));
  } else if (outcomes.length === 0) {
    await terminal.print('no lost writes');
  } else {
    const rows = outcomes.map(({ id, status, reason }) => [id, status, reason ?? '']);
    await terminal.print(table(['id', 'outcome', 'reason'], rows));
  }
  if (all && (await countLost(parts.queue, parts.lanes.home)) > 0) {
    terminal.complain('some are left: run `tierline copies sweep`, which lists what is still lost');
  }
  const failed = new Set<LostOutcome['status']>(all ? ['refused', 'busy'] : ['refused', 'busy', 'gone']);
  return outcomes.some(({ status }) => failed.has(status)) ? EXIT.failed : EXIT.ok;
}

/** Undefined when the sweep failed; the reason is printed. */
async function sweepNow(
  { connections, terminal }: Context,
  timeoutMs: number,
): Promise<CopyTurn | undefined> {
  const [{ openQueue }, { requestCopySweep, sweepResultSchema }] = await Promise.all([
    import('../../redis/bull-queue.ts'),
    import('../../maintenance/on-demand.ts'),
  ]);
  const { keys, log } = connections;
  const maintenance = openQueue(MAINTENANCE_QUEUE, await connections.redis(), keys, log);
  connections.onClose(() => maintenance.close());
  const deadline = Date.now() + timeoutMs;
  const id = await requestCopySweep(maintenance);
  for (;;) {
    const job = await maintenance.getJob(id);
    if (job?.finishedOn !== undefined) {
      const turn = sweepResultSchema.safeParse(job.returnvalue).data;
      if (turn === undefined) terminal.complain(`tierline copies sweep: ${job.failedReason}`);
      return turn;
    }
    if (Date.now() > deadline) {
      throw new SettleTimeoutError(
        `The comparison has not ended within ${duration(timeoutMs)}; is a maintenance process running? It goes on, and asking again waits for the same one.`,
      );
    }
    await pause(POLL_MS);
  }
}

function report({ figures, startedMs, endedMs, workedMs }: CopyTurn): string {
  const { checked, stale, corrupt, deleted, outdated, lost: lostWrites, inFlight } = figures;
  return facts([
    ['compared', checked],
    ['stale', stale],
    ['corrupt', corrupt],
    ['of deleted items', deleted],
    ['of an older cache', outdated],
    ['being written', inFlight],
    ['lost by Postgres', lostWrites],
    ['took', duration((endedMs ?? startedMs) - startedMs)],
    ['of it work', duration(workedMs)],
  ]);
}
