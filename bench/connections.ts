import { loadConfig } from '../src/config.ts';
import { serversOf } from '../test/helpers/redis-keys.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import { openReader } from '../src/read/open-reader.ts';
import { openStore } from '../src/store/open-store.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import type { Emit } from './metric.ts';

/** Connections to Redis, to all servers together, that each kind of process opens. `--partitions` and `--redis-cluster` change them. */
export async function connectionsBench(emit: Emit): Promise<void> {
  const deployment = await createDeployment({ partitions: loadConfig({}).partitions ?? 1 });
  const { options, env } = deployment;
  const worker = (name: 'drain' | 'maintenance') => async () => {
    const started = await startWorker(name, env);
    return { close: () => started.stop() };
  };
  const openers: Record<string, () => Promise<{ close(): Promise<unknown> }>> = {
    producer: () => openProducer(options),
    reader: () => openReader(options),
    store: () => openStore(options),
    worker: worker('drain'),
    maintenance: worker('maintenance'),
  };
  try {
    for (const [name, open] of Object.entries(openers)) {
      const before = await countClients(deployment);
      const opened = await open();
      emit(`${name}_connections`, (await countClients(deployment)) - before, 'connections');
      await opened.close();
    }
  } finally {
    await deployment.close();
  }
}

async function countClients({ redis, cache }: Deployment): Promise<number> {
  const servers = [...new Set([redis, cache])].flatMap(serversOf);
  const byServer = new Map<string, number>();
  for (const server of servers) {
    const list = await server.client('LIST');
    byServer.set(`${server.options.host}:${server.options.port}`, String(list).trim().split('\n').length);
  }
  return [...byServer.values()].reduce((sum, count) => sum + count, 0);
}
