import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { Queue } from 'bullmq';
import type { FastifyInstance } from 'fastify';
import { printable } from '../printable.ts';
import { chunkSchema, kindAt, type OperationKind, rangeSchema } from '../schema/job.ts';
import type { Sources } from './sources.ts';

const BOARD_PATH = '/queues';

/**
 * Mounts Bull Board at `/queues`, to look at queues and jobs. It has no authentication of its own: the guard stands before it.
 *
 * It shows either all of its buttons or none. Most of them would lose accepted writes (remove, clean, empty, obliterate), or
 * would replace a job's data with the summary that is shown. So it shows none. The safe actions are in routes.ts.
 */
export async function mountBullBoard(
  app: FastifyInstance,
  { config, writes, ranges, maintenance }: Sources,
  basePath: string,
): Promise<void> {
  const server = new FastifyAdapter();
  server.setBasePath(basePath + BOARD_PATH);
  const queues = [
    ...ofLanes(writes, 'Accepted writes on their way into the tiers, up to a few hundred a job'),
    ...ofLanes(ranges, 'Deletes of whole prefixes and states'),
    adapter(maintenance, 'Folding, purging, snapshots; verifications and replays'),
  ];
  for (const queue of queues) {
    queue.setFormatter('data', visibleData);
    queue.setFormatter('returnValue', visibleData);
  }
  if (!config.dashboardPayloads)
    for (const queue of queues.slice(0, -1)) queue.setFormatter('data', jobSummary);
  createBullBoard({
    queues,
    serverAdapter: server,
    options: {
      uiConfig: {
        boardTitle: 'Tierline queues',
        boardLogo: { path: `${basePath}/assets/icon.svg`, width: 28, height: 28 },
        miscLinks: [{ text: 'Back to Tierline', url: `${basePath}/` }],
        hideDocsLink: true,
        // The policy forbids the inline style of its icon, and the overview shows the same figures.
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
      // The page loads a font from another host and styles its loading text inline. The policy forbids both.
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

function adapter(queue: Queue, description: string, partition = ''): BullMQAdapter {
  const names = partition === '' ? {} : { prefix: `${partition}.`, delimiter: '.' };
  return new BullMQAdapter(queue, { readOnlyMode: true, description, ...names });
}

/** The queues of all partitions have one name in BullMQ. Bull Board tells queues apart by name and would show the last one only. */
function ofLanes(queues: readonly Queue[], description: string): BullMQAdapter[] {
  if (queues.length === 1) return queues.map((queue) => adapter(queue, description));
  const digits = `${queues.length - 1}`.length;
  return queues.map((queue, partition) =>
    // Bull Board sorts names as text.
    adapter(queue, description, `partition-${`${partition}`.padStart(digits, '0')}`),
  );
}

function ownPage(page: string): string {
  return page
    .replace(/<link[^>]*https:\/\/fonts\.googleapis\.com[^>]*>/g, '')
    .replace(/<div id="root">.*?<\/style>\s*<\/div>/s, '<div id="root"></div>');
}

const OPERATIONS: Readonly<Record<OperationKind, string>> = {
  putJson: 'put (JSON)',
  putBinary: 'put (binary)',
  delete: 'delete',
  setState: 'set state',
};
const FIRST_IDS = 5;

/** A job's data or result, with escapes for characters that cannot be seen. */
export function visibleData(data: unknown): unknown {
  const text = JSON.stringify(data) as string | undefined;
  if (text === undefined) return data;
  return JSON.parse(text, (_key, value: unknown) => (typeof value === 'string' ? printable(value) : value));
}

/** Bull Board shows this in place of a job's data: it holds no content, and the page stays quick. */
export function jobSummary(data: unknown): object {
  const chunk = chunkSchema.safeParse(data).data;
  if (chunk !== undefined) {
    const operations: Record<string, number> = {};
    chunk.ids.forEach((_, index) => {
      const name = OPERATIONS[kindAt(chunk, index)];
      operations[name] = (operations[name] ?? 0) + 1;
    });
    return {
      operations,
      items: chunk.ids.length,
      bytes: chunk.bodies.reduce((sum, body) => sum + Buffer.byteLength(body), 0),
      firstIds: chunk.ids.slice(0, FIRST_IDS).map(printable),
      firstVersion: chunk.first,
      ...(chunk.atomic === true ? { atomic: true } : {}),
    };
  }
  const range = rangeSchema.safeParse(data).data;
  if (range !== undefined) {
    return { operation: `delete ${range.kind}`, [range.kind]: printable(range.value), version: range.stamp };
  }
  return { operation: 'unknown', bytes: Buffer.byteLength(JSON.stringify(data) ?? '') };
}
