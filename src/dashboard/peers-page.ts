import { stampToMs } from '../clock.ts';
import {
  COMPARE_JOB,
  compareDataSchema,
  type CompareResult,
  compareResultSchema,
} from '../maintenance/compare-job.ts';
import { lastEqualAt } from '../postgres/deployment.ts';
import type { Shard } from '../postgres/shards.ts';
import type { RowDifference } from '../schema/peer.ts';
import { ago, count, duration, time } from './overview-figures.ts';
import { actionForm, type Content, type Frame, type Html, html, itemLink, page } from './layout.ts';
import {
  isUnderWay,
  type PeerCheck,
  type PeerChecks,
  type RequestedJob,
  requestedJobs,
} from './requested-jobs.ts';
import type { Sources } from './sources.ts';

export interface PeersFigures {
  readonly peers: readonly PeerFigures[];
  readonly nowMs: number;
}

interface PeerFigures extends PeerCheck {
  /** In milliseconds since 1970; undefined when the two were never equal, or the peer's deployment is not known. */
  readonly equalAtMs: number | undefined;
  /** The newest comparison that is waiting or running. */
  readonly underWay: RequestedJob | undefined;
  /** The last that ended, and what it found. */
  readonly ended: RequestedJob | undefined;
  readonly result: CompareResult | undefined;
}

const JOBS = 50;
const REFRESH_MS = 1000;

/** @throws QueueUnavailableError, TierUnavailableError, SchemaMissingError */
export async function peersFigures(
  { maintenance, shards }: Sources,
  checks: PeerChecks,
): Promise<PeersFigures> {
  const [asked, jobs] = await Promise.all([checks.all(), requestedJobs(maintenance, COMPARE_JOB, JOBS)]);
  // What is noted of peers stands in the first shard.
  const { pool } = shards.all[0] as Shard;
  const peers = asked.map(async (peer): Promise<PeerFigures> => {
    const own = jobs.filter(({ data }) => compareDataSchema.safeParse(data).data?.peer === peer.name);
    const ended = own.filter((job) => !isUnderWay(job));
    const results = ended.map((job) => compareResultSchema.safeParse(job.result).data);
    const deployment = peer.deployment ?? results.find((result) => result !== undefined)?.deployment;
    return {
      ...peer,
      deployment,
      equalAtMs: deployment === undefined ? undefined : await lastEqualAt(pool, deployment),
      underWay: own.find(isUnderWay),
      ended: ended[0],
      result: results[0],
    };
  });
  return { peers: await Promise.all(peers), nowMs: Date.now() };
}

export function peersPage(frame: Frame, { peers, nowMs }: PeersFigures): Html {
  return page(frame, {
    title: 'Peers',
    at: '/peers',
    ...(peers.length > 0 && { refreshMs: REFRESH_MS }),
    content: html`<h1>Peers</h1>
${
  peers.length === 0
    ? html`<p>This deployment has no peers. Another deployment that it is to be kept equal to is named in <code>TIERLINE_PEERS</code>, with the URL of its gateway, and in <code>TIERLINE_PEER_TOKENS</code>, with a token of the scope <code>peer</code>: set both for maintenance and for the dashboard. docs/peers.md tells the steps.</p>`
    : html`<p>Deployments that this one is kept equal to. A comparison finds the rows that differ, deletions too, and moves nothing. Maintenance repairs them, and so does <code>tierline merkle repair</code>.</p>`
}
${peers.map((peer, i) => peerSection(frame, peer, i, nowMs))}`,
  });
}

function peerSection(frame: Frame, peer: PeerFigures, i: number, nowMs: number): Html {
  const { name } = peer;
  return html`<section aria-labelledby="peer-${i}"><h2 id="peer-${i}">${name}</h2>
<div data-live="notice-${i}">${notice(peer)}</div>
<div class="cards" data-live="state-${i}">${cards(peer, nowMs)}</div>
<div class="actions">${actionForm(frame, '/peers/compare', html`Compare<span class="hidden"> with ${name}</span>`, { peer: name })}</div>
<div data-live="runs-${i}" role="status">${runs(frame, peer)}</div></section>`;
}

function notice({ gateway }: PeerFigures): Content {
  return !gateway.ok && html`<p class="notice warn">The gateway cannot be asked: ${gateway.why}</p>`;
}

function cards({ gateway, url, deployment, equalAtMs }: PeerFigures, nowMs: number): Content {
  const isUnknown = deployment === undefined;
  return html`<div class="card"><h3>Last agreement</h3><p class="figure">${
    equalAtMs !== undefined ? ago(equalAtMs, nowMs) : isUnknown ? 'unknown' : 'never'
  }</p><p>${
    equalAtMs !== undefined
      ? time(equalAtMs)
      : isUnknown
        ? 'until its gateway answers'
        : 'no comparison has found both equal'
  }</p></div>
<div class="card wide"><h3>${url}</h3><p class="figure small"><code class="digest">${deployment ?? '–'}</code></p><p>${gateway.ok ? 'its gateway answers' : 'its gateway does not answer'}</p></div>`;
}

function runs(frame: Frame, { name, underWay, ended, result }: PeerFigures): Content {
  if (underWay === undefined && ended === undefined) {
    return html`<p class="dim">No comparison has been asked for lately.</p>`;
  }
  return html`<ul class="runs">${
    underWay &&
    html`<li>${when(underWay)}${underWay.state === 'waiting' ? 'waiting for maintenance' : 'comparing'}</li>`
  }${ended && html`<li>${when(ended)}${outcome(ended, result)}</li>`}</ul>${result && differing(frame, name, result)}`;
}

function when({ requestedMs }: RequestedJob): Html {
  return html`<span class="when">${time(requestedMs)}</span> `;
}

const FIX =
  'Check that its gateway runs, and that TIERLINE_PEERS and TIERLINE_PEER_TOKENS name it for maintenance. docs/peers.md lists what is refused, and what to do.';

function outcome(job: RequestedJob, result: CompareResult | undefined): Html {
  if (job.state === 'failed') {
    return html`<span class="pill critical">failed</span> ${job.failure} ${FIX}`;
  }
  if (result === undefined) return html`ended without a result`;
  const { equal, differences, cut, ms } = result;
  if (equal) return html`<span class="pill normal">equal</span> in ${duration(ms)}`;
  const rows = differences.length;
  const found =
    rows > 0
      ? html`${cut && 'at least '}${count(rows)} ${rows === 1 ? 'row differs' : 'rows differ'}`
      : cut
        ? 'writes went on, and the comparison was ended by its time limit before it had seen all rows'
        : 'the rows that differed have become equal meanwhile. If it stays so, run tierline merkle verify --content on both sides';
  return html`<span class="pill ${rows > 0 ? 'critical' : 'warn'}">${rows > 0 ? 'differs' : 'unsure'}</span> ${found}, in ${duration(ms)}`;
}

const KINDS: Readonly<Record<RowDifference['kind'], string>> = {
  'missing-here': 'missing here',
  'missing-there': 'missing there',
  'older-here': 'older here',
  'older-there': 'older there',
  'older-both': 'older here and there',
};

function differing(frame: Frame, name: string, { differences, cut }: CompareResult): Content {
  if (differences.length === 0) return false;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Rows that differ from ${name}"><table><caption>Rows that differ${cut && ', some of them'}</caption><thead><tr><th scope="col">Id</th><th scope="col">Difference</th><th scope="col">Version here</th><th scope="col">Version there</th></tr></thead><tbody>${differences.map(
    ({ id, kind, here, there }) =>
      html`<tr><th scope="row">${itemLink(frame, id, id)}</th><td>${KINDS[kind]}</td><td>${side(here)}</td><td>${side(there)}</td></tr>`,
  )}</tbody></table></div>`;
}

function side(row: RowDifference['here']): Content {
  if (row === undefined) return '–';
  const { version, deleted } = row;
  return html`<code>${version}</code>${deleted && ' deleted'}<br><span class="dim">${time(stampToMs(version))}</span>`;
}
