import { TierlineError, TierUnavailableError } from '../../errors.ts';
import { sqlState } from '../../postgres/pool.ts';
import { isPartitionCount } from '../../lanes.ts';
import { totalsOf } from '../../postgres/all-items.ts';
import { printable } from '../../printable.ts';
import { pressureOf } from '../../producer/admission.ts';
import { readBacklog, waitingOf } from '../../redis/backlog.ts';
import type { FeedEntry, FeedListener } from '../../redis/feed.ts';
import { type ChangeKind, changeKindAt, feedChangesSchema } from '../../schema/feed.ts';
import type { ShardOption } from '../../shard-list.ts';
import type { Status } from '../../types/read.ts';
import {
  action,
  command,
  type Context,
  examples,
  EXIT,
  type ExitCode,
  UsageError,
  wholeNumber,
} from '../command.ts';
import { duration, facts, groupedDigits, table, timeOf } from '../terminal.ts';

export const status = command('status', 'Say which tiers have an item, or how the whole deployment is')
  .argument('[id...]')
  .addHelpText(
    'after',
    examples(
      ['tierline status uk.nhs.patient.1', 'synced or pending, and which tiers have it'],
      ['tierline status', 'items, backlog, dead letters'],
    ),
  )
  .action(action((context, ids) => (ids.length === 0 ? ofDeployment(context) : ofItems(context, ids))));

async function ofItems({ terminal, connections, json }: Context, ids: readonly string[]): Promise<ExitCode> {
  const reader = await connections.reader();
  const found: { id: string; status: Status }[] = [];
  for (const id of ids) found.push({ id, status: await reader.status(id) });
  if (json) {
    for (const { id, status } of found) {
      await terminal.print(
        JSON.stringify(status.status === 'missing' ? { id, ...status } : withoutL1(id, status)),
      );
    }
  } else {
    const rows = found.map(({ id, status }) =>
      status.status === 'missing'
        ? [id, status.status, undefined, false, false]
        : [id, status.status, String(status.version), status.inL2, status.inL3],
    );
    await terminal.print(table(['id', 'status', 'version', 'in Redis', 'in Postgres'], rows));
  }
  return found.some(({ status }) => status.status === 'missing') ? EXIT.failed : EXIT.ok;
}

/** The command's own L1 is off and says nothing about the deployment. */
function withoutL1(id: string, status: Exclude<Status, { status: 'missing' }>): object {
  const { status: word, version, inL2, inL3 } = status;
  return { id, status: word, version, inL2, inL3 };
}

async function ofDeployment({ terminal, connections, json }: Context): Promise<ExitCode> {
  const backlog = await readBacklog(await connections.redis(), await connections.lanesForFigures());
  const totals = await totalsOf(connections.shards);
  const { pendingItems, chunksWaiting, chunksActive, oldestMs, feedLength } = backlog;
  const { itemsByShard, ...sums } = totals;
  const shards = Object.fromEntries(itemsByShard);
  if (json) {
    await terminal.print(
      JSON.stringify({
        ...sums,
        ...(itemsByShard.size > 0 && { shards }),
        pendingItems,
        chunksWaiting,
        chunksActive,
        oldestMs: Math.round(oldestMs),
        feedLength,
      }),
    );
    return EXIT.ok;
  }
  await terminal.print(
    facts([
      ['items', totals.items],
      ...Array.from(itemsByShard, ([shard, items]) => [`items at ${shard}`, items] as const),
      ['unsettled items', pendingItems],
      ['chunks waiting', chunksWaiting],
      ['chunks at workers', chunksActive],
      ['oldest unsettled', pendingItems === 0 && oldestMs === 0 ? undefined : duration(oldestMs)],
      ['dead letters', totals.deadLetters],
      ['batches to fold', totals.merklePending],
      ['feed entries held', feedLength],
    ]),
  );
  return EXIT.ok;
}

export const pressure = command('pressure', 'Say how full the queue is: normal, warn or critical')
  .addHelpText(
    'after',
    examples(
      ['tierline pressure', 'level, unsettled items, age of the oldest'],
      ['tierline pressure --json | jq -r .level', 'for scripts'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }) => {
      const { config } = connections;
      const backlog = await readBacklog(await connections.redis(), await connections.lanesForFigures());
      const now = pressureOf({ ...waitingOf(backlog), oldestMs: Math.round(backlog.oldestMs) }, config);
      await terminal.print(
        json
          ? JSON.stringify(now)
          : facts([
              ['level', now.level],
              ['full', percent(now.ratio)],
              [
                'unsettled items',
                `${groupedDigits(now.waitingItems)} of ${groupedDigits(config.maxWaitingItems)}`,
              ],
              [
                'unsettled bytes',
                `${groupedDigits(now.waitingBytes)} of ${groupedDigits(config.maxWaitingBytes)}`,
              ],
              [
                'memory of Redis',
                now.memoryShare === 0
                  ? undefined
                  : `${percent(now.memoryShare)} of maxmemory, of which ${percent(config.maxMemoryShare)} may be used`,
              ],
              ['oldest', now.oldestMs === 0 ? undefined : duration(now.oldestMs)],
            ]),
      );
      return EXIT.ok;
    }),
  );

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

const KINDS: Readonly<Record<ChangeKind, string>> = { present: 'put', deleted: 'delete', cacheOnly: 'cache' };

interface Change {
  readonly at: number;
  readonly id: string;
  readonly version: number;
  readonly kind: string;
}

export const tail = command('tail', 'Follow the change feed from now on, until interrupted')
  .option('--prefix <prefix>', 'only ids that begin with this text', '')
  .option('--limit <changes>', 'stop after so many', wholeNumber(1))
  .addHelpText(
    'after',
    examples(
      ['tierline tail --prefix uk.', 'changes as they settle'],
      ['tierline tail --json --limit 10', 'the next ten, one line each'],
    ),
  )
  .action(action((context, { prefix, limit }) => follow(context, prefix, limit ?? Number.POSITIVE_INFINITY)));

function follow({ terminal, connections, json }: Context, prefix: string, limit: number): Promise<ExitCode> {
  return new Promise((resolve, reject) => {
    let printed = 0;
    let isFollowing = false;
    // Print one line after the other: each waits for the terminal.
    let printing = Promise.resolve();
    const end = () => {
      process.off('SIGINT', end);
      process.off('SIGTERM', end);
      printing.then(() => resolve(EXIT.ok), reject);
    };
    process.on('SIGINT', end);
    process.on('SIGTERM', end);
    const listener: FeedListener = {
      onEntry(entry) {
        for (const change of changesOf(entry)) {
          if (printed >= limit || !change.id.startsWith(prefix)) continue;
          printed++;
          const line = json ? JSON.stringify(change) : humanLine(change);
          printing = printing.then(() => terminal.print(line));
          printing.catch(reject);
        }
        if (printed >= limit) end();
      },
      onGap: (kind) =>
        terminal.complain(
          kind === 'lost'
            ? 'tierline tail: Redis came back without its data'
            : 'tierline tail: changes were missed; the feed no longer holds them',
        ),
      onDown: () => terminal.complain('tierline tail: Redis does not answer; waiting for it'),
      onLive: () => {
        if (isFollowing) terminal.complain('tierline tail: following again');
      },
    };
    const begun = () => {
      isFollowing = true;
      terminal.complain('following the change feed; Ctrl-C ends');
    };
    connections.followFeeds(listener).then(begun, reject);
  });
}

function changesOf(entry: FeedEntry): Change[] {
  const changes = feedChangesSchema.parse(JSON.parse(entry.changes));
  const { ids, cv, sv } = changes;
  const at = Number.parseInt(entry.id, 10);
  return ids.map((id, i) => ({
    at,
    id,
    version: Math.max(cv[i] ?? 0, sv?.[i] ?? 0),
    kind: KINDS[changeKindAt(changes, i)],
  }));
}

function humanLine({ at, id, version, kind }: Change): string {
  return `${timeOf(at)}  ${kind.padEnd(6)}  ${version}  ${printable(id)}`;
}

export const migrate = command('migrate', 'Create or update the tables in Postgres')
  .option('--partitions <number>', 'of a new deployment; left out: TIERLINE_PARTITIONS, or 1', wholeNumber(1))
  .addHelpText(
    'after',
    examples(
      ['tierline migrate', 'twice, or from two machines at once, is harmless'],
      ['tierline migrate --partitions 8', 'a new deployment of 8 partitions (docs/scale.md)'],
    ),
  )
  .action(
    action(async ({ terminal, connections, json }, { partitions = connections.config.partitions }) => {
      if (partitions !== undefined && !isPartitionCount(partitions)) {
        throw new UsageError('--partitions takes a power of two up to 256');
      }
      const { databaseUrl, shards } = connections.config;
      const ran = await migrated(databaseUrl, shards, partitions).catch((error: unknown) => {
        const answered = error instanceof TierlineError || sqlState(error) !== undefined;
        throw answered ? error : new TierUnavailableError('l3', error);
      });
      for (const [shard, names] of ran) {
        const text = names.length === 0 ? 'the schema is up to date' : `ran ${names.join(', ')}`;
        const isNamed = shard !== undefined;
        if (json) await terminal.print(JSON.stringify(isNamed ? { shard, ran: names } : { ran: names }));
        else await terminal.print(isNamed ? `${shard}: ${text}` : text);
      }
      return EXIT.ok;
    }),
  );

/** The migrations that it ran, by shard; without a name when there is only one. */
async function migrated(
  databaseUrl: string,
  shards: readonly ShardOption[],
  partitions: number | undefined,
): Promise<Iterable<readonly [string | undefined, readonly string[]]>> {
  if (shards.length > 0) {
    const { migrateShards } = await import('../../postgres/migrate-shards.ts');
    return migrateShards(shards, partitions);
  }
  const { migrate: migrateOne } = await import('../../postgres/migrator.ts');
  return [[undefined, await migrateOne(databaseUrl, partitions)]];
}
