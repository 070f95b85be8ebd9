import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { Queue } from 'bullmq';
import type { FastifyInstance } from 'fastify';
import { jobSummary, visibleData } from './job-summary.ts';
import type { Sources } from './sources.ts';

export const BOARD_PATH = '/queues';

/**
 * Mounts Bull Board at `/queues`, to look at queues and jobs. It has no authentication of its own: the guard stands before it.
 *
 * It shows either all of its buttons or none. Most of them would lose accepted writes (remove, clean, empty, obliterate) or
 * write the summary that is shown over a job's data, so it shows none; action-routes.ts has what is safe.
 */
export async function mountBullBoard(
  app: FastifyInstance,
  { config, writes, ranges, maintenance }: Sources,
): Promise<void> {
  const server = new FastifyAdapter();
  server.setBasePath(BOARD_PATH);
  const queues = [
    adapter(writes, 'Accepted writes on their way into the tiers, up to a few hundred a job'),
    adapter(ranges, 'Deletes of whole prefixes and states'),
    adapter(maintenance, 'Folding, purging, snapshots; verifications and replays'),
  ];
  for (const queue of queues) {
    queue.setFormatter('data', visibleData);
    queue.setFormatter('returnValue', visibleData);
  }
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
        before: ({ method }) =>
          method === 'get'
            ? undefined
            : {
                allow: false,
                status: 403,
                message: 'Bull Board only shows. The overview has what may be done.',
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

function adapter(queue: Queue, description: string): BullMQAdapter {
  return new BullMQAdapter(queue, { readOnlyMode: true, description });
}

function ownPage(page: string): string {
  return page
    .replace(/<link[^>]*https:\/\/fonts\.googleapis\.com[^>]*>/g, '')
    .replace(/<div id="root">.*?<\/style>\s*<\/div>/s, '<div id="root"></div>');
}
