import type { Config } from '../../config.ts';
import { PartitionsError, ShardsError } from '../../errors.ts';
import { withoutCredentials } from '../../log.ts';
import { totalsOf } from '../../postgres/all-items.ts';
import type { Shard, Shards } from '../../postgres/shards.ts';
import type { Totals } from '../../postgres/totals.ts';
import { printable } from '../../printable.ts';
import { pressureOf } from '../../producer/admission.ts';
import { type Backlog, readBacklog, waitingOf } from '../../redis/backlog.ts';
import { countLost } from '../../redis/copies.ts';
import { partitionsInRedis } from '../../redis/partitions.ts';
import type { Move } from '../../shard-map.ts';
import { VERSION } from '../../version.ts';
import { action, command, type Context, examples, EXIT } from '../command.ts';
import { fail, type Finding, ok, warn } from '../doctor/finding.ts';
import { merkleKeyFindings, postgresFindings, replicaFindings } from '../doctor/postgres-findings.ts';
import { redisFindings } from '../doctor/redis-findings.ts';
import { duration, facts, groupedDigits } from '../terminal.ts';

const MARKS = { ok: 'ok  ', warn: 'WARN', fail: 'FAIL' } as const;

export const doctor = command('doctor', 'Check servers, schema, clocks and backlog, and say what to do')
  .addHelpText(
    'after',
    examples(
      ['tierline doctor', 'exit code 1 when something fails'],
      ['tierline doctor --json | jq \'select(.level != "ok")\'', 'only what needs attention'],
    ),
  )
  .action(
    action(async (context) => {
      const findings = (await examine(context)).map(withoutSecrets);
      if (context.json) {
        for (const finding of findings) await context.terminal.print(JSON.stringify(finding));
      } else {
        await context.terminal.print(report(findings));
      }
      return findings.some(({ level }) => level === 'fail') ? EXIT.failed : EXIT.ok;
    }),
  );

async function examine({ connections }: Context): Promise<Finding[]> {
  const { config, log } = connections;
  const ownCache = config.cacheRedisUrl !== undefined && config.cacheRedisUrl !== config.redisUrl;
  const [queue, cache, postgres, replicas] = await Promise.all([
    redisFindings('redis', config, log),
    ownCache ? redisFindings('cache', config, log) : [],
    perShard(connections.shards, ({ pool }) => postgresFindings(pool)),
    perShard(connections.shards, (shard) => replicaFindings(shard, connections.shards.isOne, config, log)),
  ]);
  return [
    ok('node', 'version', `Tierline ${VERSION} on Node ${process.versions.node}`),
    ...queue,
    ...cache,
    ...postgres,
    ...replicas,
    // When Postgres does not answer, the findings above say so.
    ...(await perShard(connections.shards, ({ pool }) =>
      merkleKeyFindings(pool, config.merkleKey).catch(() => []),
    )),
    ...(await work(connections)),
  ];
}

/** Of several shards each finding says which one it is about. */
async function perShard(
  { all, isOne }: Shards,
  examineOne: (shard: Shard) => Promise<Finding[]>,
): Promise<Finding[]> {
  const found = await Promise.all(
    all.map(async (shard) =>
      (await examineOne(shard)).map((finding) =>
        isOne ? finding : { ...finding, about: `${shard.name} ${finding.about}` },
      ),
    ),
  );
  return found.flat();
}

/** Leaves out what a server does not answer: the findings of that server say so. */
async function work(connections: Context['connections']): Promise<Finding[]> {
  const [backlog, lost, totals] = await Promise.all([
    connections
      .redis()
      .then(async (redis) => readBacklog(redis, await connections.lanesForFigures()))
      .catch(() => undefined),
    connections
      .redis()
      .then((redis) => countLost(redis, connections.keys))
      .catch(() => undefined),
    totalsOf(connections.shards).catch(() => undefined),
  ]);
  return [
    ...(await partitionFindings(connections)),
    ...moveFindings(connections.shards.map?.move),
    ...(backlog === undefined ? [] : backlogFindings(backlog, connections.config)),
    ...(lost === undefined ? [] : [lostFinding(lost)]),
    ...(totals === undefined ? [] : totalsFindings(totals)),
  ];
}

/** Whether Redis and Postgres know the same number. */
async function partitionFindings(connections: Context['connections']): Promise<Finding[]> {
  const { config } = connections;
  try {
    const { partitions } = await connections.shards.learn();
    const inRedis = (await partitionsInRedis(await connections.redis(), connections.keys)) ?? partitions;
    const counts = [partitions, inRedis, config.partitions ?? partitions];
    return [
      counts.every((count) => count === partitions)
        ? ok('postgres', 'partitions', String(partitions))
        : fail(
            'postgres',
            'partitions',
            `${partitions} in Postgres, ${inRedis} in Redis, TIERLINE_PARTITIONS ${config.partitions ?? 'not set'}`,
            `correct what is of another deployment; after a raise that was interrupted, tierline partitions raise ${Math.max(partitions, inRedis)}`,
          ),
    ];
  } catch (error) {
    if (error instanceof ShardsError || error instanceof PartitionsError) {
      return [fail('postgres', 'shards', error.message, 'correct TIERLINE_SHARDS or DATABASE_URL')];
    }
    return [];
  }
}

/** A move goes on only while its command runs, and doctor cannot see whether it does. */
function moveFindings(move: Move | undefined): Finding[] {
  if (move === undefined) return [];
  const { partition, from, to, step } = move;
  const resume = `tierline partitions move ${partition} --to ${to}`;
  const undo = `tierline partitions move ${partition} --undo`;
  const found = `partition ${partition} is being moved from shard ${from} to ${to}`;
  const [state, how] = (
    {
      copy: ['its writes wait', `resume with ${resume}, or give up with ${undo}`],
      switch: ['all rows are copied, and its writes wait for the new shard', resume],
      empty: [`it is there, and rows are left to delete at ${from}`, resume],
      undo: [`it was given up, and copies are left to delete at ${to}`, undo],
    } as const
  )[step];
  return [warn('postgres', 'partition move', `${found}: ${state}`, `if nothing goes on, ${how}`)];
}

function withoutSecrets(finding: Finding): Finding {
  return { ...finding, found: printable(withoutCredentials(finding.found)) };
}

function report(findings: readonly Finding[]): string {
  const lines = facts(
    findings.map(({ area, about, level, found }) => [`${MARKS[level]}  ${area}: ${about}`, found]),
  ).split('\n');
  const fixes = findings.map(({ fix }) => fix);
  return lines
    .flatMap((line, i) => [line, ...(fixes[i] === undefined ? [] : [`      fix: ${fixes[i]}`])])
    .join('\n');
}

/** A batch leaves one delta, and the fold runs every second: so many deltas mean that it does not run. */
const MANY_DELTAS = 2000;

/** Whether writes settle. */
export function backlogFindings(backlog: Backlog, config: Config): Finding[] {
  const { pendingItems, oldestMs, chunksWaiting, chunksActive } = backlog;
  const { level, ratio } = pressureOf(waitingOf(backlog), config);
  const found = `${groupedDigits(pendingItems)} unsettled items, ${(ratio * 100).toFixed(1)} % of the limit`;
  const more = 'start more drain workers, or slow the producers down';
  return [
    level === 'normal'
      ? ok('queue', 'pressure', found)
      : (level === 'warn' ? warn : fail)('queue', 'pressure', found, more),
    lag(oldestMs, chunksWaiting, chunksActive, config.readyLagMs),
  ];
}

function lag(oldestMs: number, waiting: number, active: number, limitMs: number): Finding {
  if (oldestMs < limitMs) {
    return ok('queue', 'lag', oldestMs === 0 ? 'nothing waits' : `oldest write ${duration(oldestMs)} old`);
  }
  const found = `oldest unsettled write ${duration(oldestMs)} old, ${groupedDigits(waiting)} chunks waiting, ${groupedDigits(active)} at workers`;
  const fix =
    active === 0
      ? 'start drain workers (tierline worker); if no chunk is queued either, maintenance sweeps the notes'
      : 'look at the log of the drain workers: they retry what a backend refuses';
  return fail('queue', 'lag', found, fix);
}

/** What piles up in Postgres when maintenance does not run or nobody looks at dead letters. */
export function totalsFindings({ merklePending, deadLetters }: Totals): Finding[] {
  return [
    merklePending < MANY_DELTAS
      ? ok('maintenance', 'Merkle fold', `${groupedDigits(merklePending)} batches to fold`)
      : warn(
          'maintenance',
          'Merkle fold',
          `${groupedDigits(merklePending)} batches to fold`,
          'start tierline maintenance; reads of the tree get slow without it',
        ),
    deadLetters === 0
      ? ok('queue', 'dead letters', 'none')
      : warn(
          'queue',
          'dead letters',
          groupedDigits(deadLetters),
          'tierline dead-letters list, then replay or purge them',
        ),
  ];
}

/** Settled writes that only L2 still has. */
export function lostFinding(lost: number): Finding {
  return lost === 0
    ? ok('postgres', 'lost writes', 'none found')
    : fail(
        'postgres',
        'lost writes',
        `${groupedDigits(lost)} settled writes that Redis still has`,
        'tierline copies lost, then tierline copies restore --all',
      );
}
