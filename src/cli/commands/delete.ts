import type { Command } from '../command.ts';
import { EXIT, UsageError } from '../exit-code.ts';
import { printable } from '../../printable.ts';
import { groupedDigits, table } from '../table.ts';

export const deleteCommand: Command = {
  name: 'delete',
  summary: 'Delete items by id, prefix or state, and wait until that has settled',
  takes: '[id]...',
  minArguments: 0,
  maxArguments: 1000,
  options: {
    prefix: { takes: '<prefix>', help: 'delete every id that begins with this text' },
    state: { takes: '<state>', help: 'delete every item in this state' },
    timeout: { takes: '<seconds>', help: 'longest wait for it to settle; left out: as long as it takes' },
  },
  examples: [
    ['@ delete uk.nhs.patient.1 uk.nhs.patient.2', 'two items'],
    ['@ delete --prefix import.2024.', 'all ids that begin so, as of now'],
  ],
  async run({ terminal, connections, json }, args) {
    args.atMostOne('prefix', 'state');
    const prefix = args.text('prefix');
    const state = args.text('state');
    const ids = args.positionals;
    if ((prefix ?? state) === undefined && ids.length === 0) {
      throw new UsageError('[id]..., --prefix or --state is missing');
    }
    if ((prefix ?? state) !== undefined && ids.length > 0) {
      throw new UsageError('ids exclude --prefix and --state');
    }
    const timeoutMs = args.seconds('timeout');
    const wait = timeoutMs === undefined ? {} : { timeoutMs };
    const producer = await connections.producer();

    if (prefix !== undefined || state !== undefined) {
      const ticket =
        prefix !== undefined
          ? await producer.deletePrefix(prefix)
          : await producer.deleteByState(state as string);
      const { deleted, dead } = await ticket.settled(wait);
      const refused = dead > 0 ? `, ${groupedDigits(dead)} refused (tierline dead-letters)` : '';
      await terminal.print(
        json ? JSON.stringify({ deleted, dead }) : `${groupedDigits(deleted)} deleted${refused}`,
      );
      return dead > 0 ? EXIT.failed : EXIT.ok;
    }

    const batch = await producer.deleteMany(ids);
    for (const { id, error } of batch.rejected) {
      terminal.complain(
        `tierline delete: ${JSON.stringify(id)}: ${printable(error.message)} (${error.code})`,
      );
    }
    const { outcomes, failed } = await batch.settled(wait);
    const rows = outcomes.map((outcome, i) => ({ id: batch.tickets[i]?.id, ...outcome }));
    if (json) {
      for (const row of rows) await terminal.print(JSON.stringify(row));
    } else if (rows.length > 0) {
      await terminal.print(
        table(
          ['id', 'outcome'],
          rows.map((row) => [row.id, row.status]),
        ),
      );
    }
    return failed > 0 ? EXIT.failed : EXIT.ok;
  },
};
