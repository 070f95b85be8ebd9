import type { Item } from '../../types.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { itemLine } from '../item-text.ts';
import { facts, groupedDigits, timeOf } from '../table.ts';

export const get: Command = {
  name: 'get',
  summary: 'Show items by their ids',
  takes: '<id>...',
  minArguments: 1,
  maxArguments: 1000,
  options: {
    verify: { help: 'hash the content again, and fail when no tier has the content that was written' },
  },
  examples: [
    ['@ get uk.nhs.patient.1', 'one item, for people'],
    ['@ get --json a b c | jq .content', 'several, one line each'],
  ],
  async run({ terminal, connections, json }, args) {
    const reader = await connections.reader();
    const ids = args.positionals;
    const items = args.flag('verify')
      ? await Promise.all(ids.map((id) => reader.get(id, { verify: true })))
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
  },
};

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
