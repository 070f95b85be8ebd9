import { readTotals } from '../../postgres/totals.ts';
import { readBacklog } from '../../redis/backlog.ts';
import type { Status } from '../../types.ts';
import type { Command, Context } from '../command.ts';
import { EXIT, type ExitCode } from '../exit-code.ts';
import { duration, facts, table } from '../table.ts';

export const status: Command = {
  name: 'status',
  summary: 'Say which tiers have an item, or how the whole deployment is',
  takes: '[id]...',
  minArguments: 0,
  maxArguments: 1000,
  options: {},
  examples: [
    ['@ status uk.nhs.patient.1', 'synced or pending, and which tiers have it'],
    ['@ status', 'items, backlog, dead letters'],
  ],
  run: (context, { positionals }) =>
    positionals.length === 0 ? ofDeployment(context) : ofItems(context, positionals),
};

async function ofItems({ terminal, connections, json }: Context, ids: readonly string[]): Promise<ExitCode> {
  const reader = await connections.reader();
  const found: { id: string; status: Status }[] = [];
  for (const id of ids) found.push({ id, status: await reader.status(id) });
  if (json) {
    for (const { id, status } of found) {
      await terminal.print(
        JSON.stringify(status.status === 'missing' ? { id, ...status } : withoutL1(id, status)),
      );
    }
  } else {
    const rows = found.map(({ id, status }) =>
      status.status === 'missing'
        ? [id, status.status, undefined, false, false]
        : [id, status.status, String(status.version), status.inL2, status.inL3],
    );
    await terminal.print(table(['id', 'status', 'version', 'in Redis', 'in Postgres'], rows));
  }
  return found.some(({ status }) => status.status === 'missing') ? EXIT.failed : EXIT.ok;
}

/** This process has no L1 of its own to speak of. */
function withoutL1(id: string, status: Exclude<Status, { status: 'missing' }>): object {
  const { status: word, version, inL2, inL3 } = status;
  return { id, status: word, version, inL2, inL3 };
}

async function ofDeployment({ terminal, connections, json }: Context): Promise<ExitCode> {
  const backlog = await readBacklog(await connections.redis(), connections.keys);
  const totals = await readTotals(connections.pool());
  const { pendingItems, chunksWaiting, chunksActive, oldestMs, feedLength } = backlog;
  if (json) {
    await terminal.print(
      JSON.stringify({
        ...totals,
        pendingItems,
        chunksWaiting,
        chunksActive,
        oldestMs: Math.round(oldestMs),
        feedLength,
      }),
    );
    return EXIT.ok;
  }
  await terminal.print(
    facts([
      ['items', totals.items],
      ['unsettled items', pendingItems],
      ['chunks waiting', chunksWaiting],
      ['chunks at workers', chunksActive],
      ['oldest unsettled', pendingItems === 0 && oldestMs === 0 ? undefined : duration(oldestMs)],
      ['dead letters', totals.deadLetters],
      ['batches to fold', totals.merklePending],
      ['feed entries held', feedLength],
    ]),
  );
  return EXIT.ok;
}
