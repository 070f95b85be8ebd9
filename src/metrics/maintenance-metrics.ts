import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ChoreObserver } from '../maintenance/chores.ts';
import type { CopyFigures } from '../redis/copies.ts';
import { seconds, STAGE_BUCKETS } from './registry.ts';

/** What the sweep of L2 finds: a label of `tierline_copies_found_total`. */
const FINDINGS = ['stale', 'corrupt', 'deleted', 'outdated', 'lost'] as const;

/** The chores of this maintenance process: how often, how long, and when each last succeeded. */
export class MaintenanceMetrics implements ChoreObserver {
  readonly #runs: Counter<'chore' | 'result'>;
  readonly #duration: Histogram<'chore'>;
  readonly #lastSuccess: Gauge<'chore'>;
  readonly #copiesCompared: Counter;
  readonly #copiesFound: Counter<'finding'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#runs = new Counter({
      name: 'tierline_chore_runs_total',
      help: 'Chores that this process ran, by result',
      labelNames: ['chore', 'result'],
      registers,
    });
    this.#duration = new Histogram({
      name: 'tierline_chore_seconds',
      help: 'Duration of chores, failed ones included',
      labelNames: ['chore'],
      buckets: STAGE_BUCKETS,
      registers,
    });
    this.#lastSuccess = new Gauge({
      name: 'tierline_chore_last_success_timestamp_seconds',
      help: 'When the chore last succeeded in this process, in seconds since 1970',
      labelNames: ['chore'],
      registers,
    });
    this.#copiesCompared = new Counter({
      name: 'tierline_copies_compared_total',
      help: 'L2 copies that this process compared with their rows',
      registers,
    });
    this.#copiesFound = new Counter({
      name: 'tierline_copies_found_total',
      help: 'L2 copies that differed from their rows, by what was found',
      labelNames: ['finding'],
      registers,
    });
    for (const finding of FINDINGS) this.#copiesFound.inc({ finding }, 0);
  }

  choreEnded(chore: string, ms: number, failed: boolean): void {
    this.#runs.inc({ chore, result: failed ? 'failed' : 'ok' });
    this.#duration.observe({ chore }, seconds(ms));
    if (!failed) this.#lastSuccess.set({ chore }, seconds(Date.now()));
  }

  copiesCompared(figures: CopyFigures): void {
    this.#copiesCompared.inc(figures.checked);
    for (const finding of FINDINGS) this.#copiesFound.inc({ finding }, figures[finding]);
  }
}
