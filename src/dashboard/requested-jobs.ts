import type { Job, Queue } from 'bullmq';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { withoutCredentials } from '../log.ts';
import { configuredPeer } from '../peers/configured-peers.ts';
import type { PeerIdentity } from '../types/merkle.ts';
import { type Answer, answerOf } from './sources.ts';

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

/** Pages refresh every second. What a peer said is shown again for this time. */
const FRESH_MS = 10_000;
/** It tries again meanwhile. A page does not wait so long for it. */
const CHECK_MS = 10_000;

/** A configured peer, and whether its gateway answers. */
export interface PeerCheck {
  readonly name: string;
  readonly url: string;
  readonly gateway: Answer<PeerIdentity>;
  /** Id of its deployment, also when only an earlier answer told it. */
  readonly deployment: string | undefined;
}

interface Asked {
  readonly identity: Promise<PeerIdentity>;
  /** Until then nobody asks again; none while the question is under way. */
  freshUntilMs: number;
}

/** Asks the configured peers for their identities. Pages that are open at one time share a question. */
export class PeerChecks {
  readonly #config: Config;
  readonly #asked = new Map<string, Asked>();
  readonly #deployments = new Map<string, string>();

  constructor(config: Config) {
    this.#config = config;
  }

  /** In the order of `TIERLINE_PEERS`. Never throws. */
  all(): Promise<PeerCheck[]> {
    return Promise.all(
      this.#config.peers.map(async ({ name, url }) => {
        const gateway = await answerOf(this.#identity(name));
        if (gateway.ok) this.#deployments.set(name, gateway.value.deployment);
        return { name, url: withoutCredentials(url), gateway, deployment: this.#deployments.get(name) };
      }),
    );
  }

  #identity(name: string): Promise<PeerIdentity> {
    const before = this.#asked.get(name);
    if (before !== undefined && performance.now() < before.freshUntilMs) return before.identity;
    const asked: Asked = { identity: ask(this.#config, name), freshUntilMs: Number.POSITIVE_INFINITY };
    this.#asked.set(name, asked);
    const settle = () => {
      asked.freshUntilMs = performance.now() + FRESH_MS;
    };
    asked.identity.then(settle, settle);
    return asked.identity;
  }
}

/** @throws ConfigError without a token, PeerRefusedError, PeerUnavailableError, or that there was no answer in time */
async function ask(config: Config, name: string): Promise<PeerIdentity> {
  const { peer } = configuredPeer(config, name);
  try {
    return await within(CHECK_MS, peer.identity());
  } finally {
    peer.close();
  }
}
