import { Command } from '@commander-js/extra-typings';
import type { MerkleNode } from '../../types/merkle.ts';
import { action, type Context, command, examples, EXIT } from '../command.ts';
import { facts, table } from '../table.ts';

const root = command('root', 'Count and digest of all live items: stores that took the same writes agree')
  .addHelpText(
    'after',
    examples(
      ['tierline merkle root', 'for people'],
      ['tierline merkle root --json | jq -r .digest', 'to compare with another deployment'],
    ),
  )
  .action(
    action(async (context) => {
      await printNode(context, undefined, await context.connections.merkle().root());
      return EXIT.ok;
    }),
  );

const prefix = command('prefix', 'Count and digest below one dotted prefix')
  .argument('<path>')
  .addHelpText('after', examples(['tierline merkle prefix uk.nhs', 'all items whose id begins with uk.nhs.']))
  .action(
    action(async (context, path) => {
      await printNode(context, path, await context.connections.merkle().prefix(path));
      return EXIT.ok;
    }),
  );

async function printNode(
  { terminal, json }: Context,
  path: string | undefined,
  { count, digest }: MerkleNode,
): Promise<void> {
  const head = path === undefined ? [] : ([['prefix', path]] as const);
  await terminal.print(
    json ? JSON.stringify({ path, count, digest }) : facts([...head, ['items', count], ['digest', digest]]),
  );
}

const verify = command(
  'verify',
  'Compare the Merkle tree with the stored digests of all rows; contents are not hashed',
)
  .addHelpText(
    'after',
    examples(['tierline merkle verify', 'exit code 1 and the nodes that differ when they disagree']),
  )
  .action(
    action(async ({ terminal, connections, json }) => {
      const { ok, differences } = await connections.merkle().verify();
      if (json) await terminal.print(JSON.stringify({ ok, differences }));
      else if (ok) await terminal.print('tree and stored digests agree');
      else {
        const rows = differences.map(({ kind, node, rows, tree }) => [kind, node, rows, tree]);
        await terminal.print(table(['kind', 'node', 'in rows', 'in tree'], rows));
      }
      return ok ? EXIT.ok : EXIT.failed;
    }),
  );

export const merkle = new Command('merkle')
  .description('The Merkle tables')
  .addCommand(root)
  .addCommand(prefix)
  .addCommand(verify);
