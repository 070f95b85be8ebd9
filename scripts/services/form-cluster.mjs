import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';

const slots = 16_384;
const readyWithinMs = 30_000;

/**
 * Makes a Redis Cluster of running servers that were started with `cluster-enabled`: the first `masters` share the slots, and the
 * others become their replicas in turn.
 */
export async function formCluster(ports, masters) {
  const clients = ports.map((port) => new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 2 }));
  for (const client of clients) client.on('error', () => {});
  try {
    for (const [i, client] of clients.entries()) await client.cluster('SET-CONFIG-EPOCH', i + 1);
    for (let i = 0; i < masters; i++) {
      const from = Math.round((slots / masters) * i);
      const to = Math.round((slots / masters) * (i + 1));
      await clients[i].cluster(
        'ADDSLOTS',
        Array.from({ length: to - from }, (_, n) => from + n),
      );
    }
    for (const client of clients) await client.cluster('MEET', '127.0.0.1', ports[0]);
    const known = async (client) =>
      (await nodesOf(client)).filter(({ flags }) => !flags.includes('handshake')).length;
    await until(clients, async (client) => (await known(client)) === ports.length);
    for (let i = masters; i < clients.length; i++) {
      const [master] = (await nodesOf(clients[i % masters])).filter(({ flags }) => flags.includes('myself'));
      await clients[i].cluster('REPLICATE', master.id);
    }
    await until(clients, isServing);
    await until(clients.slice(masters), async (client) =>
      /master_link_status:up/.test(await client.info('replication')),
    );
    // Each server must have heard of all replicas, so that clients find them wherever they ask.
    await until(clients, async (client) => {
      const replicas = (await nodesOf(client)).filter(({ flags }) => flags.includes('slave'));
      return replicas.length === ports.length - masters;
    });
  } finally {
    for (const client of clients) client.disconnect();
  }
}

async function isServing(client) {
  return /cluster_state:ok/.test(await client.cluster('INFO'));
}

async function nodesOf(client) {
  return (await client.cluster('NODES'))
    .trim()
    .split('\n')
    .map((line) => {
      const [id, , flags] = line.split(' ');
      return { id, flags: flags.split(',') };
    });
}

async function until(clients, isSo) {
  const deadline = performance.now() + readyWithinMs;
  for (const client of clients) {
    while (!(await isSo(client))) {
      if (performance.now() > deadline) throw new Error('the Redis Cluster did not form in time');
      await pause(50);
    }
  }
}
