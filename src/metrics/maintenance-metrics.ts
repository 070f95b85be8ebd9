import { Counter, Gauge, type Registry } from 'prom-client';
import type { ChoreObserver } from '../maintenance/chores.ts';
import type { RowFault } from '../postgres/verify-rows.ts';
import { Instruments, seconds } from './registry.ts';

/** What the sweep of L2 finds: a label of `tierline_copies_found_total`. */
const FINDINGS = ['stale', 'corrupt', 'deleted', 'outdated', 'lost'] as const;
/** What the sweep of rows finds: a label of `tierline_rows_found_total`. */
const ROW_FAULTS = ['content', 'digest', 'place'] as const satisfies readonly RowFault[];

/** The chores of this maintenance process: how often, how long, and when each last succeeded. */
export function maintenanceMetrics(registry: Registry): ChoreObserver {
  const make = new Instruments(registry);
  const registers = [registry];
  const runs = new Counter({
    name: 'tierline_chore_runs_total',
    help: 'Chores that this process ran, by result',
    labelNames: ['chore', 'result'],
    registers,
  });
  const duration = make.histogramBy(
    'tierline_chore_seconds',
    'Duration of chores, failed ones included',
    'chore',
    [],
  );
  const lastSuccess = new Gauge({
    name: 'tierline_chore_last_success_timestamp_seconds',
    help: 'When the chore last succeeded in this process, in seconds since 1970',
    labelNames: ['chore'],
    registers,
  });
  const copiesCompared = make.counter(
    'tierline_copies_compared_total',
    'L2 copies that this process compared with their rows',
  );
  const copiesFound = make.counterBy(
    'tierline_copies_found_total',
    'L2 copies that differed from their rows, by what was found',
    'finding',
    FINDINGS,
  );
  const rowsVerified = make.counter(
    'tierline_rows_verified_total',
    'Rows whose hash and digest this process made again',
  );
  const rowsFound = make.counterBy(
    'tierline_rows_found_total',
    'Rows that were not as their writers left them, by what was found',
    'finding',
    ROW_FAULTS,
  );
  return {
    choreEnded(chore, ms, failed) {
      runs.inc({ chore, result: failed ? 'failed' : 'ok' });
      duration.observe({ chore }, seconds(ms));
      if (!failed) lastSuccess.set({ chore }, seconds(Date.now()));
    },
    copiesCompared(figures) {
      copiesCompared.inc(figures.checked);
      for (const finding of FINDINGS) copiesFound.inc({ finding }, figures[finding]);
    },
    rowsVerified(rows, faults) {
      rowsVerified.inc(rows);
      for (const finding of faults) rowsFound.inc({ finding });
    },
  };
}
