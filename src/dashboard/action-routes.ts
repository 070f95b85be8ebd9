import type { FastifyInstance } from 'fastify';
import { requestReplay, requestVerify } from '../maintenance/on-demand.ts';
import { letterParams } from './page-routes.ts';
import type { Sources } from './sources.ts';

/** What the buttons do: they ask for jobs of the maintenance queue, and the page they return to shows how those go. */
export function addActions(app: FastifyInstance, { maintenance, log }: Sources): void {
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
