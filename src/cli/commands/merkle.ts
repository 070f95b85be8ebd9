import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { facts, table } from '../table.ts';

const root: Command = {
  name: 'merkle root',
  summary: 'Count and digest of all live items: stores that took the same writes agree',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {},
  examples: [
    ['@ merkle root', 'for people'],
    ['@ merkle root --json | jq -r .digest', 'to compare with another deployment'],
  ],
  async run({ terminal, connections, json }) {
    const node = await connections.merkle().root();
    await terminal.print(
      json
        ? JSON.stringify({ count: node.count, digest: node.digest })
        : facts([
            ['items', node.count],
            ['digest', node.digest],
          ]),
    );
    return EXIT.ok;
  },
};

const prefix: Command = {
  name: 'merkle prefix',
  summary: 'Count and digest below one dotted prefix',
  takes: '<path>',
  minArguments: 1,
  maxArguments: 1,
  options: {},
  examples: [['@ merkle prefix uk.nhs', 'all items whose id begins with uk.nhs.']],
  async run({ terminal, connections, json }, { positionals: [path = ''] }) {
    const node = await connections.merkle().prefix(path);
    await terminal.print(
      json
        ? JSON.stringify({ path, count: node.count, digest: node.digest })
        : facts([
            ['prefix', path],
            ['items', node.count],
            ['digest', node.digest],
          ]),
    );
    return EXIT.ok;
  },
};

const verify: Command = {
  name: 'merkle verify',
  summary: 'Compare the Merkle tree with the stored digests of all rows; contents are not hashed',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {},
  examples: [['@ merkle verify', 'exit code 1 and the nodes that differ when they disagree']],
  async run({ terminal, connections, json }) {
    const { ok, differences } = await connections.merkle().verify();
    if (json) await terminal.print(JSON.stringify({ ok, differences }));
    else if (ok) await terminal.print('tree and stored digests agree');
    else {
      const rows = differences.map(({ kind, node, rows, tree }) => [kind, node, rows, tree]);
      await terminal.print(table(['kind', 'node', 'in rows', 'in tree'], rows));
    }
    return ok ? EXIT.ok : EXIT.failed;
  },
};

export const MERKLE: readonly Command[] = [root, prefix, verify];
