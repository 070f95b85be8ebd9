import type { MoveProgress } from '../maintenance/partition-move.ts';
import type { MoveStep } from '../shard-map.ts';
import { Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';

const DONE: Readonly<Record<MoveStep, string>> = {
  copy: 'copied',
  switch: 'switched',
  empty: 'deleted at the old shard',
  undo: 'deleted at the new shard',
};

/** The progress of a move, with a bar for each step. */
export class MoveProgressBar {
  readonly #terminal: Terminal;
  #latest: MoveProgress | undefined;
  #bar: Progress | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  show(progress: MoveProgress): void {
    if (progress.step !== this.#latest?.step) this.#begin(progress.step);
    this.#latest = progress;
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #begin(step: MoveStep): void {
    this.stop();
    this.#bar = new Progress(
      this.#terminal,
      () => {
        const { rows, total } = this.#latest ?? { rows: 0, total: 0 };
        return {
          share: total === 0 ? 1 : Math.min(1, rows / total),
          done: rows,
          waiting: Math.max(0, total - rows),
        };
      },
      { done: DONE[step], waiting: 'left', stalled: 'is a shard busy, or away?' },
    );
  }
}
