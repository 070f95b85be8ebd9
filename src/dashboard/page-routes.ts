import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { InvalidItemError } from '../errors.ts';
import { MAX_ID_BYTES } from '../schema/item.ts';
import { REPLAY_JOB } from '../maintenance/on-demand.ts';
import { findDeadLetter, listDeadLetters } from '../postgres/dead-letters.ts';
import { readTotals } from '../postgres/totals.ts';
import { readBacklog } from '../redis/backlog.ts';
import { readSeries } from '../redis/history.ts';
import type { CopyCounter } from './copy-counter.ts';
import type { Html } from './html.ts';
import { itemFigures } from './item-figures.ts';
import { merkleFigures } from './merkle-figures.ts';
import { overviewFigures } from './overview-figures.ts';
import { deadLetterPage, deadLettersPage } from './pages/dead-letters-page.ts';
import { itemPage } from './pages/item-page.ts';
import type { Frame } from './pages/layout.ts';
import { merklePage } from './pages/merkle-page.ts';
import { overviewPage } from './pages/overview-page.ts';
import { problemPage } from './pages/problem-page.ts';
import { seriesColumns } from './pages/series-view.ts';
import { requestedJobs } from './requested-jobs.ts';
import type { Sources } from './sources.ts';

const LETTERS_A_PAGE = 20;
const REPLAYS_SHOWN = 5;

/** A parameter that came twice is none. */
const text = z.string().catch('');
const seq = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const itemQuery = z.object({ id: text });
const merkleQuery = z.object({ path: text, after: text });
const lettersQuery = z.object({ before: seq.optional().catch(undefined) });
export const letterParams = z.object({ seq: seq.catch(0) });

/** What the pages show. Nothing here changes anything. */
export function addPages(app: FastifyInstance, sources: Sources, counter: CopyCounter): void {
  const { config, pool, queue, keys, maintenance } = sources;
  const frame = (request: FastifyRequest) => frameOf(sources, request);

  app.get('/', async (request, reply) =>
    send(reply, overviewPage(frame(request), await overviewFigures(sources, counter))),
  );

  app.get('/series.json', async () => {
    const { nowMs } = await readBacklog(queue, keys);
    return seriesColumns(await readSeries(queue, keys, nowMs));
  });

  app.get('/item', async (request, reply) => {
    const { id } = itemQuery.parse(request.query);
    const view = { id, payloads: config.dashboardPayloads };
    if (id === '') return send(reply, itemPage(frame(request), view));
    try {
      const figures = await itemFigures(sources, id);
      return send(reply, itemPage(frame(request), { ...view, figures }));
    } catch (error) {
      if (!(error instanceof InvalidItemError)) throw error;
      return send(reply.code(400), itemPage(frame(request), { ...view, problem: error.message }));
    }
  });

  app.get('/merkle', async (request, reply) => {
    const { path, after } = merkleQuery.parse(request.query);
    if ([path, after].some((prefix) => !couldBePrefix(prefix))) {
      const why = `A prefix is the beginning of an id: text without NUL of at most ${MAX_ID_BYTES} bytes.`;
      return send(reply.code(400), problemPage(frame(request), 'No such prefix', why));
    }
    return send(reply, merklePage(frame(request), await merkleFigures(sources, path, after)));
  });

  app.get('/dead-letters', async (request, reply) => {
    const { before } = lettersQuery.parse(request.query);
    const [{ deadLetters }, letters, replays] = await Promise.all([
      readTotals(pool),
      listDeadLetters(pool, LETTERS_A_PAGE + 1, before),
      requestedJobs(maintenance, REPLAY_JOB, REPLAYS_SHOWN),
    ]);
    const shown = letters.slice(0, LETTERS_A_PAGE);
    const older = letters.length > shown.length ? shown.at(-1)?.seq : undefined;
    return send(
      reply,
      deadLettersPage(frame(request), { total: deadLetters, letters: shown, older, replays }),
    );
  });

  app.get('/dead-letters/:seq', async (request, reply) => {
    const letter = await findDeadLetter(pool, letterParams.parse(request.params).seq);
    if (letter !== undefined) return send(reply, deadLetterPage(frame(request), letter));
    const page = problemPage(
      frame(request),
      'No such letter',
      'It was replayed or purged, or never existed.',
    );
    return send(reply.code(404), page);
  });
}

/** Each part of a prefix is a link to all parts before it, so a page grows with the square of its length. */
function couldBePrefix(text: string): boolean {
  return !text.includes('\0') && Buffer.byteLength(text) <= MAX_ID_BYTES;
}

export function frameOf({ config }: Sources, request: FastifyRequest): Frame {
  return { session: request.session, readOnly: config.dashboardReadOnly, namespace: config.namespace };
}

export function send(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page.toString());
}
