import { type Job, type JobJson, Worker } from 'bullmq';

/**
 * A BullMQ worker whose processor gets the data of a job as text. BullMQ itself parses the data while it fetches the job: a
 * text that is no JSON would make each fetch fail, and the job would never leave the queue.
 */
export class TextJobWorker extends Worker<string, void> {
  protected override createJob(json: JobJson, jobId: string): Job<string, void> {
    const job = super.createJob({ ...json, data: '""' }, jobId);
    job.data = json.data;
    return job;
  }
}

/**
 * Bounds the bytes of the chunks that a worker holds (I10). BullMQ counts jobs and reads `concurrency` before it takes each
 * one. Once the bytes reach their limit, `concurrency` is set to the number of jobs in hand, so no more are taken until some
 * are written. One chunk may exceed the limit.
 */
export class Intake {
  readonly #worker: Worker<string, void>;
  readonly #maxJobs: number;
  readonly #maxBytes: number;
  readonly #sizes = new Map<Job, number>();
  #bytes = 0;

  constructor(worker: Worker<string, void>, maxBytes: number) {
    this.#worker = worker;
    this.#maxJobs = worker.concurrency;
    this.#maxBytes = maxBytes;
    // BullMQ emits this before it takes the next job.
    worker.on('active', (job) => this.#took(job));
  }

  /** The worker no longer holds the job. */
  done(job: Job): void {
    this.#bytes -= this.#sizes.get(job) ?? 0;
    this.#sizes.delete(job);
    this.#adjust();
  }

  #took(job: Job<string>): void {
    // Text of JSON is nearly always one byte a character.
    this.#sizes.set(job, job.data.length);
    this.#bytes += job.data.length;
    this.#adjust();
  }

  #adjust(): void {
    const isFull = this.#bytes >= this.#maxBytes;
    this.#worker.concurrency = isFull ? Math.max(1, this.#sizes.size) : this.#maxJobs;
  }
}
