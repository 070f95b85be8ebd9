import { Command, InvalidArgumentError } from '@commander-js/extra-typings';
import { configuredPeer } from '../../peers/configured-peers.ts';
import { repair as repairPeers } from '../../merkle/repair.ts';
import { printable } from '../../printable.ts';
import type { MerkleNode, RepairCounts, RepairResult } from '../../types/merkle.ts';
import { action, command, type Context, examples, EXIT, UsageError, wholeNumber } from '../command.ts';
import { facts, groupedDigits, table } from '../terminal.ts';

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

const PEER = 'name of a peer in TIERLINE_PEERS, or its URL';

const diff = command('diff', 'List the live items that this deployment and a peer do not agree on')
  .argument('<peer>', PEER)
  .option('--limit <items>', 'most items told', wholeNumber(1), 1000)
  .addHelpText(
    'after',
    examples(['tierline merkle diff eu', 'exit code 1 and the ids with both versions when they differ']),
  )
  .action(
    action(async ({ terminal, connections, json }, given, { limit }) => {
      const { peer } = configuredPeer(connections.config, given);
      connections.onClose(async () => peer.close());
      const { differences, more } = await connections.merkle().diff(peer, { limit });
      const { requests, bytes } = peer.traffic;
      if (json) await terminal.print(JSON.stringify({ differences, more, requests, bytes }));
      else if (differences.length === 0) await terminal.print('the live items of both agree');
      else {
        const lines = differences.map(({ id, here, there }) => [
          printable(id),
          String(here ?? '–'),
          String(there ?? '–'),
        ]);
        await terminal.print(table(['id', 'version here', 'version there'], lines));
        if (more) terminal.complain(`and others, beyond --limit ${limit}`);
      }
      return differences.length === 0 ? EXIT.ok : EXIT.failed;
    }),
  );

const repair = command('repair', 'Make this deployment and a peer equal')
  .argument('<peer>', PEER)
  .option('--direction <way>', 'pull, push or both', directionOf, 'both' as const)
  .option('--dry-run', 'count what would be moved, and move nothing')
  .option('--rate <rows>', 'most rows moved a second', wholeNumber(1))
  .addHelpText(
    'after',
    examples(
      ['tierline merkle repair eu --dry-run', 'how many rows would be moved each way'],
      ['tierline merkle repair eu', 'exit code 1 and the reason when both are not equal afterwards'],
    ),
  )
  .action(
    action(async (context, given, { direction, dryRun = false, rate }) => {
      const { connections } = context;
      const { peer } = configuredPeer(connections.config, given);
      connections.onClose(async () => peer.close());
      const result = await repairPeers(await connections.localPeer(), peer, {
        direction,
        dryRun,
        ...(rate !== undefined && { rate }),
        onProgress: progressOf(context),
      });
      const { requests, bytes } = peer.traffic;
      if (context.json) await context.terminal.print(JSON.stringify({ ...result, requests, bytes }));
      else await print(context, result);
      return result.equal || dryRun ? EXIT.ok : EXIT.failed;
    }),
  );

function directionOf(value: string): 'pull' | 'push' | 'both' {
  if (value === 'pull' || value === 'push' || value === 'both') return value;
  throw new InvalidArgumentError('It takes pull, push or both.');
}

function progressOf({ terminal }: Context): (counts: RepairCounts) => void {
  let told = performance.now();
  return ({ pulled, pushed }) => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    terminal.complain(`${groupedDigits(pulled.rows)} rows pulled, ${groupedDigits(pushed.rows)} rows pushed`);
  };
}

async function print({ terminal }: Context, result: RepairResult): Promise<void> {
  const { equal, reason, pulled, pushed, left, refused } = result;
  await terminal.print(
    facts([
      ['equal', equal ? 'yes' : `no: ${reason ?? ''}`],
      ['pulled', `${groupedDigits(pulled.rows)} rows, ${groupedDigits(pulled.bytes)} bytes`],
      ['pushed', `${groupedDigits(pushed.rows)} rows, ${groupedDigits(pushed.bytes)} bytes`],
      ['left', left],
    ]),
  );
  if (refused.length === 0) return;
  const lines = refused.map(({ id, side, reason: why }) => [printable(id), side, why]);
  await terminal.print(table(['refused', 'by the side', 'because'], lines));
}

export const merkle = new Command('merkle')
  .description('The Merkle tables')
  .addCommand(root)
  .addCommand(prefix)
  .addCommand(verify)
  .addCommand(diff)
  .addCommand(repair);
