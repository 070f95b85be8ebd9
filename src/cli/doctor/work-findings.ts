import type { Config } from '../../config.ts';
import type { Totals } from '../../postgres/totals.ts';
import { pressureOf } from '../../producer/pressure.ts';
import { type Backlog, waitingOf } from '../../redis/backlog.ts';
import { duration, groupedDigits } from '../table.ts';
import { fail, type Finding, ok, warn } from './finding.ts';

/** The folder runs every second and a batch leaves one delta: this many mean that it does not run. */
const MANY_DELTAS = 2000;

/** Whether writes settle: the backlog as Redis has it. */
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
      ? 'start drain workers (the worker line of the Procfile); if none is queued either, maintenance sweeps the notes'
      : 'look at the log of the drain workers: they retry what a backend refuses';
  return fail('queue', 'lag', found, fix);
}

/** What stays behind in Postgres when somebody does not do their work. */
export function totalsFindings({ merklePending, deadLetters }: Totals): Finding[] {
  return [
    merklePending < MANY_DELTAS
      ? ok('maintenance', 'Merkle fold', `${groupedDigits(merklePending)} batches to fold`)
      : warn(
          'maintenance',
          'Merkle fold',
          `${groupedDigits(merklePending)} batches to fold`,
          'start the maintenance process of the Procfile; reads of the tree get slow without it',
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
