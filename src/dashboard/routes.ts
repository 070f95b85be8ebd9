import type { FastifyInstance, FastifyReply } from 'fastify';
import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import { requestCompare } from '../maintenance/compare-job.ts';
import { REPLAY_JOB, requestReplay, requestVerify } from '../maintenance/on-demand.ts';
import { findLetter, listLetters } from '../postgres/dead-letters.ts';
import { totalsOf } from '../postgres/all-items.ts';
import { readBacklog } from '../redis/backlog.ts';
import { readSeries } from '../redis/history.ts';
import { MAX_ID_BYTES } from '../schema/item.ts';
import { deadLetterPage, deadLettersPage } from './dead-letters-page.ts';
import { itemAnswers, itemPage } from './item-page.ts';
import { type FrameOf, problemPage, send } from './layout.ts';
import { merkleFigures, merklePage } from './merkle-page.ts';
import { type CopyCounter, overviewFigures } from './overview-figures.ts';
import { overviewPage, seriesColumns } from './overview-page.ts';
import { type PeerChecks, requestedJobs } from './requested-jobs.ts';
import { peersFigures, peersPage } from './peers-page.ts';
import type { Sources } from './sources.ts';

const DEAD_LETTERS_A_PAGE = 20;
const REPLAYS_SHOWN = 5;

/** A parameter that came twice counts as none. */
const text = z.string().catch('');
const seq = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const itemQuery = z.object({ id: text });
const merkleQuery = z.object({ path: text, after: text });
const deadLettersQuery = z.object({ before: seq.optional().catch(undefined) });
const compareBody = z.object({ peer: text }).catch({ peer: '' });
const deadLetterParams = z.object({ seq: seq.catch(0) });

/** What the pages show. Nothing here changes anything. */
export function addPages(
  app: FastifyInstance,
  sources: Sources,
  counter: CopyCounter,
  peers: PeerChecks,
  frame: FrameOf,
): void {
  const { config, queue, keys, lanes } = sources;

  app.get('/', async (request, reply) =>
    send(reply, overviewPage(frame(request, reply), await overviewFigures(sources, counter))),
  );

  app.get('/series.json', async () => {
    const { nowMs } = await readBacklog(queue, lanes);
    return seriesColumns(await readSeries(queue, keys, nowMs));
  });

  app.get('/item', async (request, reply) => {
    const { id } = itemQuery.parse(request.query);
    const view = { id, payloads: config.dashboardPayloads };
    if (id === '') return send(reply, itemPage(frame(request, reply), view));
    try {
      const answers = await itemAnswers(sources, id);
      return send(reply, itemPage(frame(request, reply), { ...view, answers }));
    } catch (error) {
      if (!(error instanceof InvalidItemError)) throw error;
      const page = itemPage(frame(request, reply), { ...view, problem: error.message });
      return send(reply.code(400), page);
    }
  });

  app.get('/merkle', async (request, reply) => {
    const { path, after } = merkleQuery.parse(request.query);
    if ([path, after].some((prefix) => !couldBePrefix(prefix))) {
      const why = `A prefix is the beginning of an id: text without NUL of at most ${MAX_ID_BYTES} bytes.`;
      return send(reply.code(400), problemPage(frame(request, reply), 'No such prefix', why));
    }
    return send(reply, merklePage(frame(request, reply), await merkleFigures(sources, path, after)));
  });

  app.get('/peers', async (request, reply) =>
    send(reply, peersPage(frame(request, reply), await peersFigures(sources, peers))),
  );

  addDeadLetterPages(app, sources, frame);
}

function addDeadLetterPages(app: FastifyInstance, { shards, maintenance }: Sources, frame: FrameOf): void {
  app.get('/dead-letters', async (request, reply) => {
    const { before } = deadLettersQuery.parse(request.query);
    const [{ deadLetters: total }, found, replays] = await Promise.all([
      totalsOf(shards),
      listLetters(shards, DEAD_LETTERS_A_PAGE + 1, before),
      requestedJobs(maintenance, REPLAY_JOB, REPLAYS_SHOWN),
    ]);
    const deadLetters = found.slice(0, DEAD_LETTERS_A_PAGE);
    const older = found.length > deadLetters.length ? deadLetters.at(-1)?.seq : undefined;
    return send(reply, deadLettersPage(frame(request, reply), { total, deadLetters, older, replays }));
  });

  app.get('/dead-letters/:seq', async (request, reply) => {
    const found = await findLetter(shards, deadLetterParams.parse(request.params).seq);
    if (found !== undefined) return send(reply, deadLetterPage(frame(request, reply), found));
    const why = 'It was replayed or purged, or never existed.';
    return send(reply.code(404), problemPage(frame(request, reply), 'No such letter', why));
  });
}

/** Each part of a prefix is a link to all parts before it, so a page grows with the square of its length. */
function couldBePrefix(prefix: string): boolean {
  return !prefix.includes('\0') && Buffer.byteLength(prefix) <= MAX_ID_BYTES;
}

/**
 * The buttons: they pause and resume draining, put failed jobs back, and add jobs to the maintenance queue. The page that they
 * return to shows the progress.
 */
export function addActions(
  app: FastifyInstance,
  { config, writes, ranges, maintenance, log }: Sources,
  basePath: string,
  frame: FrameOf,
): void {
  const draining = [...writes, ...ranges];
  const goTo = (reply: FastifyReply, path: string) => reply.redirect(basePath + path, 303);

  app.post('/draining/pause', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.pause()));
    log.info('draining paused on the dashboard');
    return goTo(reply, '/#backlog');
  });

  app.post('/draining/resume', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.resume()));
    log.info('draining resumed on the dashboard');
    return goTo(reply, '/#backlog');
  });

  app.post('/draining/retry', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.retryJobs({ state: 'failed' })));
    log.info('failed jobs put back on the dashboard');
    return goTo(reply, '/#backlog');
  });

  app.post('/merkle/verify', async (_request, reply) => {
    const job = await requestVerify(maintenance);
    log.info({ job }, 'verification asked for on the dashboard');
    return goTo(reply, '/merkle#verify');
  });

  app.post('/peers/compare', async (request, reply) => {
    const { peer } = compareBody.parse(request.body);
    if (!config.peers.some(({ name }) => name === peer)) {
      const why = 'TIERLINE_PEERS has no peer of this name.';
      return send(reply.code(404), problemPage(frame(request, reply), 'No such peer', why));
    }
    const job = await requestCompare(maintenance, peer);
    log.info({ job, peer }, 'comparison with a peer asked for on the dashboard');
    return goTo(reply, '/peers');
  });

  app.post('/dead-letters/:seq/replay', async (request, reply) => {
    const { seq } = deadLetterParams.parse(request.params);
    if (seq === 0) return reply.code(400).send({ error: 'No such letter.' });
    const job = await requestReplay(maintenance, seq);
    log.info({ job, deadLetter: seq }, 'replay asked for on the dashboard');
    return goTo(reply, '/dead-letters');
  });
}
