import {
  type Job,
  type JobJson,
  type Processor,
  type RedisQueueBackend,
  Worker,
  type WorkerOptions,
} from 'bullmq';

export interface WorkerBounds {
  /** Jobs in hand. */
  readonly concurrency: number;
  /** Bytes of the jobs in hand; a single job may be larger. */
  readonly maxBytes: number;
}

/**
 * A BullMQ worker whose processor gets the data of a job as text. BullMQ itself parses the data while it fetches the job: a
 * text that is no JSON would make each fetch fail, and the job would never leave the queue.
 *
 * It bounds the bytes that it holds (I10). BullMQ counts jobs only: it takes further ones while there are fewer than
 * `concurrency`, and each job that ends brings the next one with the answer.
 */
export class TextJobWorker extends Worker<string, void> {
  readonly #intake: Intake;
  readonly #maxJobs: number;

  constructor(
    queue: string,
    processor: Processor<string, void>,
    { concurrency, maxBytes }: WorkerBounds,
    options: WorkerOptions,
  ) {
    super(
      queue,
      async (job, token) => {
        try {
          await processor(job, token);
        } finally {
          this.#intake.done(job);
          this.#adjust();
        }
      },
      { ...options, concurrency },
    );
    this.#maxJobs = concurrency;
    this.#intake = new Intake(maxBytes, concurrency);
    compareCheaply(this.backend);
  }

  protected override createJob(json: JobJson, jobId: string): Job<string, void> {
    const job = super.createJob({ ...json, data: '""' }, jobId);
    job.data = json.data;
    this.#intake.took(job);
    this.#adjust();
    return job;
  }

  override async processJob(
    job: Job<string, void>,
    token: string,
    fetchNext: () => boolean = () => true,
  ): Promise<void | Job<string, void>> {
    let isFetching = false;
    try {
      return await super.processJob(job, token, () => {
        isFetching ||= fetchNext() && this.#intake.begin();
        return isFetching;
      });
    } finally {
      if (isFetching) this.#intake.end();
      this.#adjust();
    }
  }

  /** BullMQ reads `concurrency` before it takes a job that no other one brings. */
  #adjust(): void {
    this.concurrency = this.#intake.isFull ? Math.max(1, this.#intake.inHand) : this.#maxJobs;
  }
}

/**
 * BullMQ asks whether a reply is less than 0. For the reply that brings the next job JavaScript would make a text of the whole
 * job, twice: an eighth of all that a worker allocated.
 */
function compareCheaply(backend: RedisQueueBackend): void {
  const run = backend.execCommand.bind(backend);
  backend.execCommand = (...command) => {
    const reply: unknown = run(...command);
    return reply instanceof Promise ? reply.then(withNumber) : reply;
  };
}

function withNumber(reply: unknown): unknown {
  return Array.isArray(reply)
    ? Object.defineProperty(reply, Symbol.toPrimitive, { value: () => Number.NaN })
    : reply;
}

/** The bytes of the jobs that a worker holds, and those it must expect: of a job that is on its way the size is not known. */
class Intake {
  readonly #maxBytes: number;
  readonly #sizes = new Map<Job, number>();
  /** Sizes of the jobs that were taken last. A job on its way is expected to be as large as the largest of them. */
  readonly #recent: number[];
  #taken = 0;
  #bytes = 0;
  #fetches = 0;

  constructor(maxBytes: number, maxJobs: number) {
    this.#maxBytes = maxBytes;
    this.#recent = Array<number>(maxJobs).fill(0);
  }

  /** Jobs held and on their way. */
  get inHand(): number {
    return this.#sizes.size + this.#fetches;
  }

  /** Whether one job more may be too much. */
  get isFull(): boolean {
    const expected = Math.max(...this.#recent);
    return this.inHand > 0 && this.#bytes + (this.#fetches + 1) * expected > this.#maxBytes;
  }

  /** A fetch may begin: then it counts until `end`. */
  begin(): boolean {
    if (this.isFull) return false;
    this.#fetches++;
    return true;
  }

  end(): void {
    this.#fetches--;
  }

  took(job: Job<string>): void {
    // Text of JSON is nearly always one byte a character.
    const { length } = job.data;
    this.#sizes.set(job, length);
    this.#bytes += length;
    this.#recent[this.#taken++ % this.#recent.length] = length;
  }

  done(job: Job): void {
    this.#bytes -= this.#sizes.get(job) ?? 0;
    this.#sizes.delete(job);
  }
}
