import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { itemLine } from '../item-text.ts';

export const scan: Command = {
  name: 'scan',
  summary: 'Print items as NDJSON, in the order of their ids',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {
    prefix: { takes: '<prefix>', help: 'ids that begin with this text; left out, with --state too: all' },
    state: { takes: '<state>', help: 'items in this state' },
    limit: { takes: '<items>', help: 'stop after so many' },
    ids: { help: 'print only the ids, as JSON strings' },
  },
  examples: [
    ['@ scan --prefix uk.nhs. > nhs.ndjson', 'what put reads back'],
    ['@ scan --state failed --ids', 'the ids of a state'],
  ],
  async run({ terminal, connections }, args) {
    args.atMostOne('prefix', 'state');
    const limit = args.integer('limit', 1) ?? Number.POSITIVE_INFINITY;
    const onlyIds = args.flag('ids');
    const state = args.text('state');
    const reader = await connections.reader();
    const items =
      state === undefined ? reader.scanPrefix(args.text('prefix') ?? '') : reader.scanState(state);
    let printed = 0;
    for await (const item of items) {
      await terminal.print(onlyIds ? JSON.stringify(item.id) : itemLine(item));
      if (++printed >= limit) break;
    }
    return EXIT.ok;
  },
};
