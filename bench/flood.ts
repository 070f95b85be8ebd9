import { setTimeout as sleep } from 'node:timers/promises';
import { TierlineError } from '../src/errors.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import { masterOf } from '../src/redis/masters.ts';
import { ServerInfo } from '../src/redis/server-info.ts';
import type { BatchTicket, NewItem, Producer } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { residentMb } from './cpu.ts';
import { documents } from './documents.ts';
import type { BenchOptions, Emit } from './metric.ts';

const WORKERS = 2;
const TIMES_THE_DRAIN_RATE = 5;
const ITEMS_PER_CALL = 500;
/** Of the steady load: enough to keep both workers in full batches. */
const STEADY_ITEMS = 24_000;
const LIMITS = { maxWaitingItems: 50_000, maxWaitingBytes: 64 * 1024 * 1024 };
const TICK_MS = 20;
const REFUSING_MS = 500;
const TURNS = 4;
const MIB = 1024 * 1024;

/**
 * Two producers offer up to five times what the workers drain. Without admission the queue would grow by four times the drain rate.
 * Measured against a load that waits for its own writes to settle.
 */
export async function floodBench(emit: Emit, { items = 200_000, seconds = 60 }: BenchOptions): Promise<void> {
  const deployment = await createDeployment(LIMITS);
  const workers = await Promise.all(
    Array.from({ length: WORKERS }, () => startWorker('drain', deployment.env)),
  );
  const load = new Load(documents(items));
  const producers = await Promise.all([0, 1].map(() => openProducer(deployment.options)));
  const peaks = new Peaks(
    deployment,
    workers.map(({ child }) => child.pid as number),
  );
  try {
    // The first seconds compile, and the second pass of the items finds their rows.
    await steadily(producers, load, 5000);
    const redisBefore = await usedMib(deployment);
    const heapBefore = aliveMib();
    const refusals = new Map<string, number>();
    const without: number[] = [];
    const during: number[] = [];
    let offered = 0;
    peaks.start();
    // In turns: the machine is not as fast from one minute to the next.
    const turnMs = (seconds * 1000) / TURNS;
    for (let turn = 0; turn < TURNS; turn++) {
      without.push(await load.rateOf(deployment, () => steadily(producers, load, turnMs / 2)));
      const rate = mean(without) * TIMES_THE_DRAIN_RATE;
      offered -= load.offered;
      during.push(await flood(deployment, producers, load, refusals, rate, turnMs));
      offered += load.offered;
      peaks.lookAtHeap();
      await Promise.all(producers.map((producer) => producer.flush()));
      if (load.settled !== load.accepted)
        throw new Error(`${load.accepted} accepted, ${load.settled} settled`);
      // A producer that was refused refuses for a moment itself, and a busy one hears of it when the queue is empty already.
      await sleep(REFUSING_MS);
    }
    await peaks.stop();
    const most = LIMITS.maxWaitingItems + deployment.config.chunkMaxItems;
    if (peaks.waitingItems > most) throw new Error(`${peaks.waitingItems} items waited, ${most} may`);

    emit('offered_items_per_s', offered / seconds, 'items/s');
    emit('drained_without_flood_per_s', mean(without), 'items/s');
    emit('drained_items_per_s', mean(during), 'items/s');
    for (const [code, count] of refusals) emit(`refused_${code.toLowerCase()}`, count, 'items');
    emit('peak_waiting_items', peaks.waitingItems, `of ${LIMITS.maxWaitingItems}`);
    emit('peak_waiting_mb', peaks.waitingBytes / MIB, `of ${LIMITS.maxWaitingBytes / MIB} MB`);
    emit('peak_redis_growth_mb', peaks.redisMib - redisBefore, 'MB');
    emit('peak_worker_rss_mb', peaks.workerMb, 'MB');
    emit('full_producer_heap_growth_mb', peaks.heapMib - heapBefore, 'MB');
    emit('accepted_and_settled', load.settled, 'items');
    emit('ratio_vs_no_flood', mean(during) / mean(without), 'ratio');
  } finally {
    await peaks.stop();
    await Promise.all(producers.map((producer) => producer.close()));
    await Promise.all(workers.map((worker) => worker.stop()));
    await deployment.close();
  }
}

/** Counts what is offered, accepted and settled. Items come round and round, none while a write of it waits. */
class Load {
  offered = 0;
  accepted = 0;
  settled = 0;
  readonly #parts: number;
  readonly #idle: (readonly NewItem[])[];

  constructor(items: readonly NewItem[]) {
    this.#idle = Array.from({ length: items.length / ITEMS_PER_CALL }, (_, i) =>
      items.slice(i * ITEMS_PER_CALL, (i + 1) * ITEMS_PER_CALL),
    );
    this.#parts = this.#idle.length;
  }

  /** Items that are on their way into the queue or wait in it. */
  get busyItems(): number {
    return (this.#parts - this.#idle.length) * ITEMS_PER_CALL;
  }

  get hasIdle(): boolean {
    return this.#idle.length > 0;
  }

  /** One call. @throws what it throws, when nothing was accepted */
  async submit(producer: Producer, onRefused: (error: TierlineError) => void): Promise<void> {
    const part = this.#idle.shift();
    if (part === undefined) throw new Error('every item waits: give the bench more');
    this.offered += part.length;
    let batch: BatchTicket;
    try {
      batch = await producer.submitMany(part);
    } catch (error) {
      this.#idle.push(part);
      throw error;
    }
    this.accepted += batch.accepted;
    for (const { error } of batch.rejected) onRefused(error);
    this.#follow(batch, part).catch(() => undefined);
  }

  async #follow(batch: BatchTicket, part: readonly NewItem[]): Promise<void> {
    const { outcomes } = await batch.settled();
    this.settled += outcomes.length;
    this.#idle.push(part);
  }

  /**
   * Items drained so far, by what still waits in Redis: tickets are told a moment later, and a busy producer's later still. No
   * id waits twice, so ids are items.
   */
  async drained({ redis, keys }: Deployment): Promise<number> {
    return this.accepted - (await redis.hlen(keys.pending));
  }

  /** Items a second that were drained during `work`. */
  async rateOf(deployment: Deployment, work: () => Promise<void>): Promise<number> {
    const started = performance.now();
    const before = await this.drained(deployment);
    await work();
    return (((await this.drained(deployment)) - before) * 1000) / (performance.now() - started);
  }
}

async function steadily(producers: readonly Producer[], load: Load, ms: number): Promise<void> {
  const until = performance.now() + ms;
  const calls: Promise<void>[] = [];
  while (performance.now() < until) {
    while (load.busyItems < STEADY_ITEMS) {
      const call = load.submit(producers[calls.length % producers.length] as Producer, fail);
      call.catch(() => undefined);
      calls.push(call);
    }
    await sleep(1);
  }
  await Promise.all(calls);
}

function fail(error: TierlineError): never {
  throw error;
}

/** Offers without waiting for answers. Returns how many items a second are drained once the queue is full. */
async function flood(
  deployment: Deployment,
  producers: readonly Producer[],
  load: Load,
  refusals: Map<string, number>,
  perSecond: number,
  ms: number,
): Promise<number> {
  const started = performance.now();
  let full: { readonly atMs: number; readonly drained: Promise<number> } | undefined;
  const offeredBefore = load.offered;
  const refuse = (error: unknown, items: number) => {
    if (!(error instanceof TierlineError)) throw error;
    full ??= { atMs: performance.now(), drained: load.drained(deployment) };
    refusals.set(error.code, (refusals.get(error.code) ?? 0) + items);
  };
  const calls: Promise<void>[] = [];
  while (performance.now() < started + ms) {
    const due = ((performance.now() - started) * perSecond) / 1000;
    while (load.hasIdle && load.offered - offeredBefore < due) {
      const producer = producers[calls.length % producers.length] as Producer;
      const call = load
        .submit(producer, (error) => refuse(error, 1))
        .catch((error: unknown) => refuse(error, ITEMS_PER_CALL));
      call.catch(() => undefined);
      calls.push(call);
    }
    await sleep(TICK_MS);
  }
  const endMs = performance.now();
  const drained = await load.drained(deployment);
  await Promise.all(calls);
  if (full === undefined) throw new Error('the queue did not fill up: give the bench more seconds');
  return ((drained - (await full.drained)) * 1000) / (endMs - full.atMs);
}

/** The most that was seen of what must stay bounded. */
class Peaks {
  waitingItems = 0;
  waitingBytes = 0;
  redisMib = 0;
  workerMb = 0;
  heapMib = 0;
  readonly #deployment: Deployment;
  readonly #workers: readonly number[];
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(deployment: Deployment, workers: readonly number[]) {
    this.#deployment = deployment;
    this.#workers = workers;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#looking = this.#look();
    }, 500);
  }

  lookAtHeap(): void {
    this.heapMib = Math.max(this.heapMib, aliveMib());
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { redis, keys } = this.#deployment;
    for (const pid of this.#workers) this.workerMb = Math.max(this.workerMb, residentMb(pid));
    const [items, bytes, mib] = await Promise.all([
      redis.hlen(keys.pending),
      redis.hget(keys.bytes, 'total'),
      usedMib(this.#deployment),
    ]);
    this.waitingItems = Math.max(this.waitingItems, items);
    this.waitingBytes = Math.max(this.waitingBytes, Number(bytes));
    this.redisMib = Math.max(this.redisMib, mib);
  }
}

/** What a collection leaves of this process's heap: both producers, and the items of the bench. */
function aliveMib(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / MIB;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

async function usedMib({ redis }: Deployment): Promise<number> {
  return ((await ServerInfo.of(masterOf(redis, ''), 'memory')).number('used_memory') ?? 0) / MIB;
}
