import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import { pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import { QueueUnavailableError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import { type Digester, hashContent } from '../merkle/digest.ts';
import { noteMoved } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import { chunkStates } from '../redis/in-flight.ts';
import {
  CHUNK_JOB,
  replayChunkId,
  type StampedOperation,
  toMovedJob,
  WRITE_JOB_OPTIONS,
} from '../schema/job.ts';
import type { AcceptedRow, PeerRow } from '../types/merkle.ts';

export interface IntakeParts {
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  /** The writes queues, by partition. */
  readonly writes: readonly Pick<Queue, 'add'>[];
  readonly lanes: Lanes;
  readonly digester: Digester;
  readonly config: Pick<Config, 'maxClockSkewMs' | 'chunkMaxItems' | 'chunkMaxBytes' | 'maxContentBytes'>;
}

const POLL_MS = 20;
/** How long rows may take to settle. A worker that is away or far behind must not hold the caller for ever. */
const SETTLE_MS = 60_000;

/** A job of rows that has not settled. */
interface RunningJob {
  readonly keys: Keys;
  readonly epoch: string;
  readonly chunkId: string;
  readonly rows: readonly PeerRow[];
}

/**
 * Takes rows of another deployment. They go through the queue and a drain worker like every write, each register with its own stamp:
 * guarded in Postgres, copied to L2, told on the feed. The clock is raised to their stamps first, so that a write that is made here
 * after a row was seen wins over it. Stamps that are further ahead than `TIERLINE_MAX_CLOCK_SKEW_MS` are refused: a clock that
 * runs away elsewhere must not take this one along.
 */
export class RowIntake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the rows have settled, with their fates in the order of `rows`.
   * @param rows each id once
   * @throws QueueUnavailableError when they did not settle in time; they may settle later
   */
  async accept(rows: readonly PeerRow[]): Promise<AcceptedRow[]> {
    const fates = new Map<string, AcceptedRow>();
    const refuse = (id: string, reason: string) => fates.set(id, { id, status: 'refused', reason });
    const sound = rows.filter((row) => {
      const fault = this.#faultOf(row);
      if (fault !== undefined) refuse(row.id, fault);
      return fault === undefined;
    });
    const jobs = this.#jobsOf(sound).map((part) => this.#queue(part, refuse));
    const running = (await Promise.all(jobs)).filter((job) => job !== undefined);
    await this.#settled(running, refuse);
    return rows.map(({ id }) => fates.get(id) ?? { id, status: 'taken' });
  }

  /** Why a row is not what its sender stored, or too large here. */
  #faultOf(row: PeerRow): string | undefined {
    const { id, deleted, binary, body, contentHash, contentVersion, stateVersion } = row;
    if (contentVersion === 0 && stateVersion === 0) return 'has no stamp';
    if (contentVersion === 0 && !deleted) return 'has content without a stamp';
    const content = Buffer.from(body, binary ? 'base64' : 'utf8');
    const { maxContentBytes } = this.#parts.config;
    if (content.length > maxContentBytes) {
      return `its content has ${content.length} bytes, and ${maxContentBytes} may be (TIERLINE_MAX_CONTENT_BYTES)`;
    }
    const hash = deleted ? '' : hashContent(content);
    if (hash !== contentHash) return 'its content does not match its hash';
    const digest = this.#parts.digester.row({ ...row, id, contentHash: deleted ? null : contentHash });
    return digest === row.digest ? undefined : 'its digest is not that of its registers';
  }

  /** Rows by partition, in parts of a job each. */
  #jobsOf(rows: readonly PeerRow[]): { readonly partition: number; readonly rows: PeerRow[] }[] {
    const { chunkMaxItems, chunkMaxBytes } = this.#parts.config;
    const open = new Map<number, { partition: number; rows: PeerRow[]; chars: number }>();
    const jobs: { partition: number; rows: PeerRow[]; chars: number }[] = [];
    for (const row of rows) {
      const partition = this.#parts.lanes.of(row.id);
      let job = open.get(partition);
      if (job === undefined || job.rows.length >= chunkMaxItems || job.chars >= chunkMaxBytes) {
        job = { partition, rows: [], chars: 0 };
        jobs.push(job);
        open.set(partition, job);
      }
      job.rows.push(row);
      job.chars += row.body.length;
    }
    return jobs;
  }

  async #queue(
    { partition, rows }: { readonly partition: number; readonly rows: readonly PeerRow[] },
    refuse: (id: string, reason: string) => void,
  ): Promise<RunningJob | undefined> {
    const { queue, writes, lanes, config } = this.#parts;
    const keys = lanes.keys[partition] as Keys;
    const chunkId = replayChunkId(randomUUID());
    let taken = rows;
    for (;;) {
      if (taken.length === 0) return undefined;
      const stamps = taken.map((row) => ({ id: row.id, stamp: versionOf(row) }));
      const { epoch, now } = await noteMoved(queue, keys, chunkId, stamps, config.maxClockSkewMs);
      if (epoch !== undefined) {
        const job = toMovedJob(taken.map(operationOf));
        // When this fails, the job may be there all the same. The note stays, and is swept if there is no job.
        await writes[partition]?.add(CHUNK_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: chunkId });
        return { keys, epoch, chunkId, rows: taken };
      }
      const latest = now + config.maxClockSkewMs * 1000;
      for (const row of taken)
        if (versionOf(row) > latest) refuse(row.id, aheadBy(versionOf(row) - now, config));
      taken = taken.filter((row) => versionOf(row) <= latest);
    }
  }

  async #settled(jobs: readonly RunningJob[], refuse: (id: string, reason: string) => void): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    for (let open = jobs; open.length > 0; ) {
      const waiting = await Promise.all(
        open.map(async (job) => ((await this.#ended(job, refuse)) ? [] : [job])),
      );
      open = waiting.flat();
      if (open.length === 0) return;
      if (performance.now() > deadline) {
        throw new QueueUnavailableError(
          `The rows have not settled within ${SETTLE_MS / 1000} s: is a drain worker running? They are queued; compare again later.`,
          { accepted: 'unknown' },
        );
      }
      await pause(POLL_MS);
    }
  }

  async #ended(
    { keys, epoch, chunkId, rows }: RunningJob,
    refuse: (id: string, reason: string) => void,
  ): Promise<boolean> {
    const { states } = await chunkStates(this.#parts.queue, keys, epoch, [chunkId]);
    const [fate] = states;
    if (fate === undefined || fate.state === 'inflight') return false;
    const { exceptions = [], refused } = fate.state === 'gone' ? (fate.outcome ?? {}) : {};
    if (fate.state === 'lost' || refused !== undefined) {
      for (const { id } of rows) refuse(id, refused ?? 'Redis lost its data meanwhile; repair again');
    }
    for (const { index, reason = 'Postgres refused it' } of exceptions)
      refuse((rows[index] as PeerRow).id, reason);
    return true;
  }
}

function versionOf({ contentVersion, stateVersion }: PeerRow): number {
  return Math.max(contentVersion, stateVersion);
}

function aheadBy(us: number, { maxClockSkewMs }: Pick<Config, 'maxClockSkewMs'>): string {
  return `its stamp is ${Math.ceil(us / 1000)} ms ahead of the clock here, and ${maxClockSkewMs} ms may be (TIERLINE_MAX_CLOCK_SKEW_MS): set the clocks`;
}

function operationOf(row: PeerRow): StampedOperation {
  const {
    id,
    contentVersion,
    stateVersion,
    deleted,
    binary,
    body,
    contentHash,
    state,
    durable,
    traceParent,
  } = row;
  const hasContent = contentVersion > 0;
  return {
    id,
    kind: !hasContent ? 'setState' : deleted ? 'delete' : binary ? 'putBinary' : 'putJson',
    tiers: durable ? 'durable' : 'all',
    body,
    hash: contentHash,
    ttlMs: null,
    state: stateVersion > 0 ? state : null,
    traceParent,
    stamp: hasContent ? contentVersion : stateVersion,
    stateStamp: stateVersion,
  };
}
