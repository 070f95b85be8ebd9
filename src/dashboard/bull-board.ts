import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { Queue } from 'bullmq';
import type { FastifyInstance } from 'fastify';
import { jobSummary } from './job-summary.ts';
import type { Sources } from './sources.ts';

export const BOARD_PATH = '/queues';

/**
 * What may be done on the board: nothing that loses accepted writes (remove, clean, empty, obliterate), and nothing that
 * writes a job's data, because what the board shows of it is a summary. The command line has ways that are safe.
 */
const ALLOWED = new Set([
  '/api/queues/pause',
  '/api/queues/resume',
  '/api/queues/:queueName/pause',
  '/api/queues/:queueName/resume',
  '/api/queues/:queueName/retry/:queueStatus',
  '/api/queues/:queueName/promote',
  '/api/queues/:queueName/:jobId/retry',
  '/api/queues/:queueName/:jobId/promote',
  '/api/queues/:queueName/job-schedulers/:schedulerId/run',
]);

/** Mounts Bull Board at `/queues`. It has no authentication of its own: the guard stands before it. */
export async function mountBullBoard(
  app: FastifyInstance,
  { config, writes, ranges, maintenance }: Sources,
): Promise<void> {
  const server = new FastifyAdapter();
  server.setBasePath(BOARD_PATH);
  const options = { readOnlyMode: config.dashboardReadOnly };
  const adapter = (queue: Queue, description: string) =>
    new BullMQAdapter(queue, { ...options, description });
  const queues = [
    adapter(writes, 'Accepted writes on their way into the tiers, up to a few hundred a job'),
    adapter(ranges, 'Deletes of whole prefixes and states'),
    adapter(maintenance, 'Folding, purging, snapshots; verifications and replays'),
  ];
  if (!config.dashboardPayloads)
    for (const queue of queues.slice(0, 2)) queue.setFormatter('data', jobSummary);
  createBullBoard({
    queues,
    serverAdapter: server,
    options: {
      uiConfig: {
        boardTitle: 'Tierline queues',
        boardLogo: { path: '/assets/icon.svg', width: 28, height: 28 },
        miscLinks: [{ text: 'Back to Tierline', url: '/' }],
        hideDocsLink: true,
        // Its icon is coloured by an inline style, and the overview has the figures.
        hideRedisDetails: true,
        sortQueues: false,
        locale: { lng: 'en-US' },
      },
      handlerHooks: {
        before: ({ method, route }) =>
          method === 'get' || ALLOWED.has(route)
            ? undefined
            : {
                allow: false,
                status: 403,
                message: 'Tierline does not allow this here: it could lose accepted writes.',
              },
      },
    },
  });
  await app.register(
    async (scope) => {
      // The page asks another host for a font and styles its waiting text inline; the policy forbids both.
      scope.addHook('onSend', async (_request, reply, payload) =>
        typeof payload === 'string' && String(reply.getHeader('content-type')).startsWith('text/html')
          ? ownPage(payload)
          : payload,
      );
      await scope.register(server.registerPlugin());
    },
    { prefix: BOARD_PATH },
  );
}

function ownPage(page: string): string {
  return page
    .replace(/<link[^>]*https:\/\/fonts\.googleapis\.com[^>]*>/g, '')
    .replace(/<div id="root">.*?<\/style>\s*<\/div>/s, '<div id="root"></div>');
}
