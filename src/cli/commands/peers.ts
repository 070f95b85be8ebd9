import { InvalidArgumentError } from '@commander-js/extra-typings';
import { configuredPeer } from '../../peers/configured-peers.ts';
import { repair as repairPeers } from '../../peers/repair.ts';
import type { RepairCounts, RepairResult } from '../../types/merkle.ts';
import { printable } from '../../printable.ts';
import { action, command, type Context, examples, EXIT, wholeNumber } from '../command.ts';
import { facts, groupedDigits, table } from '../table.ts';

const TELL_EVERY_MS = 2000;
const PEER = 'name of a peer in TIERLINE_PEERS, or its URL';

export const diff = command('diff', 'List the live items that this deployment and a peer do not agree on')
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

export const repair = command('repair', 'Make this deployment and a peer equal')
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
