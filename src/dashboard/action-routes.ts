import type { FastifyInstance, FastifyReply } from 'fastify';
import { requestReplay, requestVerify } from '../maintenance/on-demand.ts';
import { letterParams } from './page-routes.ts';
import type { Sources } from './sources.ts';

/**
 * What the buttons do: they pause and resume draining, put failed jobs back, and ask for jobs of the maintenance queue. The page
 * they return to shows how it goes.
 */
export function addActions(app: FastifyInstance, { writes, ranges, maintenance, log }: Sources): void {
  const draining = [writes, ranges];

  app.post('/draining/pause', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.pause()));
    log.info('draining paused on the dashboard');
    return toBacklog(reply);
  });

  app.post('/draining/resume', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.resume()));
    log.info('draining resumed on the dashboard');
    return toBacklog(reply);
  });

  app.post('/draining/retry', async (_request, reply) => {
    await Promise.all(draining.map((queue) => queue.retryJobs({ state: 'failed' })));
    log.info('failed jobs put back on the dashboard');
    return toBacklog(reply);
  });

  app.post('/merkle/verify', async (_request, reply) => {
    const job = await requestVerify(maintenance);
    log.info({ job }, 'verification asked for on the dashboard');
    return reply.redirect('/merkle#verify', 303);
  });

  app.post('/dead-letters/:seq/replay', async (request, reply) => {
    const { seq } = letterParams.parse(request.params);
    if (seq === 0) return reply.code(400).send({ error: 'No such letter.' });
    const job = await requestReplay(maintenance, seq);
    log.info({ job, letter: seq }, 'replay asked for on the dashboard');
    return reply.redirect('/dead-letters', 303);
  });
}

function toBacklog(reply: FastifyReply): FastifyReply {
  return reply.redirect('/#backlog', 303);
}
