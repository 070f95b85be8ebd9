import { readL3 } from '../../postgres/pool.ts';
import { countRows } from '../../postgres/read-items.ts';
import { ofPrefix, ofState } from '../../read/queries.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { groupedDigits } from '../table.ts';

export const count: Command = {
  name: 'count',
  summary: 'Count the items of a prefix or a state, or all of them',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {
    prefix: { takes: '<prefix>', help: 'ids that begin with this text; left out, with --state too: all' },
    state: { takes: '<state>', help: 'items in this state' },
  },
  examples: [
    ['@ count --prefix uk.', 'ids that begin with uk.'],
    ['@ count --state failed --json', 'as {"count": n}'],
  ],
  async run({ terminal, connections, json }, args) {
    args.atMostOne('prefix', 'state');
    const state = args.text('state');
    const selection = state === undefined ? ofPrefix(args.text('prefix') ?? '') : ofState(state);
    const items = await readL3(() => countRows(connections.pool(), selection));
    await terminal.print(json ? JSON.stringify({ count: items }) : groupedDigits(items));
    return EXIT.ok;
  },
};
