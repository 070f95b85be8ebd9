import { readTotals } from '../../postgres/totals.ts';
import { readBacklog } from '../../redis/backlog.ts';
import { countLost } from '../../redis/lost-writes.ts';
import { VERSION } from '../../version.ts';
import type { Command, Context } from '../command.ts';
import { type Finding, ok } from '../doctor/finding.ts';
import { merkleKeyFindings } from '../doctor/merkle-key-findings.ts';
import { postgresFindings } from '../doctor/postgres-findings.ts';
import { redisFindings } from '../doctor/redis-findings.ts';
import { backlogFindings, lostFinding, totalsFindings } from '../doctor/work-findings.ts';
import { EXIT } from '../exit-code.ts';
import { withoutCredentials } from '../../log.ts';
import { printable } from '../../printable.ts';
import { facts } from '../table.ts';

const MARKS = { ok: 'ok  ', warn: 'WARN', fail: 'FAIL' } as const;

export const doctor: Command = {
  name: 'doctor',
  summary: 'Check servers, schema, clocks and backlog, and say what to do',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {},
  examples: [
    ['@ doctor', 'exit code 1 when something fails'],
    ['@ doctor --json | jq \'select(.level != "ok")\'', 'only what needs attention'],
  ],
  async run(context) {
    const findings = (await examine(context)).map(withoutSecrets);
    if (context.json) {
      for (const finding of findings) await context.terminal.print(JSON.stringify(finding));
    } else {
      await context.terminal.print(report(findings));
    }
    return findings.some(({ level }) => level === 'fail') ? EXIT.failed : EXIT.ok;
  },
};

async function examine({ connections }: Context): Promise<Finding[]> {
  const { config, log } = connections;
  const ownCache = config.cacheRedisUrl !== undefined && config.cacheRedisUrl !== config.redisUrl;
  const [queue, cache, postgres] = await Promise.all([
    redisFindings('redis', config, log),
    ownCache ? redisFindings('cache', config, log) : [],
    postgresFindings(connections.pool()),
  ]);
  return [
    ok('node', 'version', `Tierline ${VERSION} on Node ${process.versions.node}`),
    ...queue,
    ...cache,
    ...postgres,
    // A Postgres that cannot be asked has been told above.
    ...(await merkleKeyFindings(connections.pool(), config.merkleKey).catch(() => [])),
    ...(await work(connections)),
  ];
}

/** What cannot be asked has been told above. */
async function work(connections: Context['connections']): Promise<Finding[]> {
  const [backlog, lost, totals] = await Promise.all([
    connections
      .redis()
      .then((redis) => readBacklog(redis, connections.keys))
      .catch(() => undefined),
    connections
      .redis()
      .then((redis) => countLost(redis, connections.keys))
      .catch(() => undefined),
    readTotals(connections.pool()).catch(() => undefined),
  ]);
  return [
    ...(backlog === undefined ? [] : backlogFindings(backlog, connections.config)),
    ...(lost === undefined ? [] : [lostFinding(lost)]),
    ...(totals === undefined ? [] : totalsFindings(totals)),
  ];
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
