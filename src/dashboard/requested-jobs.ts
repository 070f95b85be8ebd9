import type { Job, Queue } from 'bullmq';

export interface RequestedJob {
  readonly id: string;
  readonly state: 'waiting' | 'running' | 'done' | 'failed';
  readonly data: unknown;
  readonly progress: unknown;
  readonly result: unknown;
  readonly failure: string | undefined;
  readonly requestedMs: number;
  readonly endedMs: number | undefined;
}

const LOOKED_AT = 50;

/** The last jobs of one name on the maintenance queue, newest first. */
export async function requestedJobs(
  maintenance: Queue,
  name: string,
  limit: number,
): Promise<RequestedJob[]> {
  const jobs = await maintenance.getJobs(
    ['active', 'waiting', 'delayed', 'completed', 'failed'],
    0,
    LOOKED_AT,
  );
  return jobs
    .filter((job: Job | undefined) => job?.name === name)
    .map(described)
    .toSorted((a, b) => b.requestedMs - a.requestedMs)
    .slice(0, limit);
}

export function isUnderWay({ state }: RequestedJob): boolean {
  return state === 'waiting' || state === 'running';
}

function described(job: Job): RequestedJob {
  const failure = job.failedReason === undefined || job.failedReason === '' ? undefined : job.failedReason;
  const started = job.processedOn !== undefined;
  return {
    id: job.id ?? '',
    state: job.finishedOn === undefined ? (started ? 'running' : 'waiting') : failure ? 'failed' : 'done',
    data: job.data as unknown,
    progress: job.progress,
    result: job.returnvalue as unknown,
    failure,
    requestedMs: job.timestamp,
    endedMs: job.finishedOn,
  };
}
