import { Option } from '@commander-js/extra-typings';
import { countAll } from '../../postgres/all-items.ts';
import { printable } from '../../printable.ts';
import { ofPrefix, ofState } from '../../postgres/read-items.ts';
import type { Item } from '../../types/read.ts';
import type { Producer } from '../../types/write.ts';
import { action, command, examples, EXIT, seconds, UsageError, wholeNumber } from '../command.ts';
import { itemLine } from '../../schema/item-lines.ts';
import { facts, groupedDigits, table, timeOf } from '../terminal.ts';

export const get = command('get', 'Show items by their ids')
  .argument('<id...>')
  .option('--verify', 'hash the content again, and fail when no tier has the content that was written')
  .addHelpText(
    'after',
    examples(
      ['tierline get uk.nhs.patient.1', 'one item, for people'],
      ['tierline get --json a b c | jq .content', 'several, one line each'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, ids, { verify }) => {
      const reader = await connections.reader();
      const items = verify
        ? await Promise.all(ids.map((id) => reader.get(id, { verify })))
        : await reader.getMany(ids);
      let missing = false;
      for (const [i, item] of items.entries()) {
        if (item === undefined) {
          missing = true;
          terminal.complain(`tierline get: no item ${JSON.stringify(ids[i])}`);
        } else {
          await terminal.print(json ? itemLine(item) : humanText(item, items.length > 1));
        }
      }
      return missing ? EXIT.failed : EXIT.ok;
    }),
  );

function humanText(item: Item, several: boolean): string {
  const head = facts([
    ['id', item.id],
    ['state', item.state],
    ['version', String(item.version)],
    ['written', timeOf(item.updatedAt)],
    ['sha256', item.contentHash],
  ]);
  const { content } = item;
  const body =
    content instanceof Uint8Array
      ? `${groupedDigits(content.length)} bytes of binary content; --json shows them as base64`
      : JSON.stringify(content, undefined, 2);
  return `${head}\n\n${body}${several ? '\n' : ''}`;
}

export const deleteCommand = command(
  'delete',
  'Delete items by id, prefix or state, and wait until that has settled',
)
  .argument('[id...]')
  .addOption(new Option('--prefix <prefix>', 'every id that begins with this text').conflicts('state'))
  .option('--state <state>', 'every item in this state')
  .option('--timeout <seconds>', 'longest wait for it to settle; left out: as long as it takes', seconds)
  .addHelpText(
    'after',
    examples(
      ['tierline delete uk.nhs.patient.1 uk.nhs.patient.2', 'two items'],
      ['tierline delete --prefix import.2024.', 'all ids that begin so, as of now'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, ids, { prefix, state, timeout }) => {
      const isRange = (prefix ?? state) !== undefined;
      if (!isRange && ids.length === 0) throw new UsageError('[id]..., --prefix or --state is missing');
      if (isRange && ids.length > 0) throw new UsageError('ids exclude --prefix and --state');
      const wait = timeout === undefined ? {} : { timeoutMs: timeout };
      const producer = await connections.producer();
      if (isRange) {
        const { deleted, dead } = await (await deleteRange(producer, prefix, state)).settled(wait);
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
        const cells = rows.map(({ id, status }) => [id, status]);
        await terminal.print(table(['id', 'outcome'], cells));
      }
      return failed > 0 ? EXIT.failed : EXIT.ok;
    }),
  );

function deleteRange(producer: Producer, prefix: string | undefined, state: string | undefined) {
  return prefix === undefined ? producer.deleteByState(state ?? '') : producer.deletePrefix(prefix);
}

const ofThisPrefix = () =>
  new Option('--prefix <prefix>', 'ids that begin with this text; left out, with --state too: all').conflicts(
    'state',
  );

export const scan = command('scan', 'Print items as NDJSON, in the order of their ids')
  .addOption(ofThisPrefix())
  .option('--state <state>', 'items in this state')
  .option('--limit <items>', 'stop after so many', wholeNumber(1))
  .option('--ids', 'print only the ids, as JSON strings')
  .addHelpText(
    'after',
    examples(
      ['tierline scan --prefix uk.nhs. > nhs.ndjson', 'lines that put reads back'],
      ['tierline scan --state failed --ids', 'the ids of a state'],
    ),
  )
  .action(
    action(async ({ terminal, connections }, { prefix = '', state, limit, ids }) => {
      const reader = await connections.reader();
      const items = state === undefined ? reader.scanPrefix(prefix) : reader.scanState(state);
      let printed = 0;
      for await (const item of items) {
        await terminal.print(ids ? JSON.stringify(item.id) : itemLine(item));
        if (++printed === limit) break;
      }
      return EXIT.ok;
    }),
  );

export const count = command('count', 'Count the items of a prefix or a state, or all of them')
  .addOption(ofThisPrefix())
  .option('--state <state>', 'items in this state')
  .addHelpText(
    'after',
    examples(
      ['tierline count --prefix uk.', 'ids that begin with uk.'],
      ['tierline count --state failed --json', 'as {"count": n}'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, { prefix = '', state }) => {
      const selection = state === undefined ? ofPrefix(prefix) : ofState(state);
      const items = await countAll(connections.shards, selection);
      await terminal.print(json ? JSON.stringify({ count: items }) : groupedDigits(items));
      return EXIT.ok;
    }),
  );
