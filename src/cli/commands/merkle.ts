import { Command } from '@commander-js/extra-typings';
import type { MerkleNode } from '../../types/merkle.ts';
import { printable } from '../../printable.ts';
import { action, type Context, command, examples, EXIT, UsageError } from '../command.ts';
import { facts, groupedDigits, table } from '../table.ts';
import { diff, repair } from './peers.ts';

const TELL_EVERY_MS = 2000;

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

const verify = command('verify', 'Compare the Merkle tree with the stored digests of all rows')
  .option('--content', 'also make the digests of all rows again, from contents, states and stamps')
  .option('--after <cursor>', 'with --content: go on with the rows after this place')
  .addHelpText(
    'after',
    examples(
      ['tierline merkle verify', 'exit code 1 and the nodes that differ when they disagree'],
      ['tierline merkle verify --content', 'also finds the rows that somebody changed by SQL'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, { content = false, after }) => {
      if (after !== undefined && !content) throw new UsageError('--after needs --content');
      let told = performance.now();
      const { ok, rows, differences } = await connections.merkle().verify({
        content,
        ...(after !== undefined && { after }),
        onProgress({ rows: checked, cursor }) {
          if (performance.now() - told < TELL_EVERY_MS) return;
          told = performance.now();
          terminal.complain(`${groupedDigits(checked)} rows; to go on from here: --after ${cursor}`);
        },
      });
      if (json) await terminal.print(JSON.stringify({ ok, ...(content && { rows }), differences }));
      else if (ok) {
        await terminal.print(
          content
            ? `tree and digests agree with ${groupedDigits(rows)} rows`
            : 'tree and stored digests agree',
        );
      } else {
        const lines = differences.map(({ kind, node, rows: inRows, tree }) => [
          kind,
          printable(node),
          inRows,
          tree,
        ]);
        await terminal.print(table(['kind', 'node', 'in rows', 'in tree'], lines));
      }
      return ok ? EXIT.ok : EXIT.failed;
    }),
  );

export const merkle = new Command('merkle')
  .description('The Merkle tables')
  .addCommand(root)
  .addCommand(prefix)
  .addCommand(verify)
  .addCommand(diff)
  .addCommand(repair);
