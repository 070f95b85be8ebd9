import { Redis } from 'ioredis';
import { slotOf } from '../../src/redis/masters.ts';
import { eventually } from './eventually.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';

/** A Redis Cluster of the test's own: three masters, with a replica each unless it is asked for without. */
export interface RedisCluster {
  readonly url: string;
  /** Names the master of a key. */
  masterOf(key: string): Promise<number>;
  /** Sets an option of the master of a key. */
  configure(key: string, option: string, value: string): Promise<void>;
  /** Kills the master of a key, and waits until its replica has taken its place. */
  failOver(key: string): Promise<void>;
  /** Moves the slot of a key with all its keys to another master. */
  migrate(key: string, during?: () => Promise<void>): Promise<void>;
  /** Stops the master of a key from running, without closing a connection. Gives what lets it go on. */
  freeze(key: string): Promise<() => void>;
  /** Takes a slot away from its master and gives it to none. */
  uncover(key: string): Promise<void>;
  close(): Promise<void>;
}

interface Member {
  readonly server: RedisServer;
  readonly client: Redis;
}

const MASTERS = 3;
/** Long enough for a busy machine, and short enough for a test to wait for a failover. */
const NODE_TIMEOUT_MS = 2000;
const MOVED_TOGETHER = 100;

interface Former {
  formCluster(ports: readonly number[], masters: number): Promise<void>;
}

export async function startRedisCluster(
  settings: Readonly<Record<string, string>> = {},
  { replicas = 1 }: { readonly replicas?: 0 | 1 } = {},
): Promise<RedisCluster> {
  const { formCluster } = (await import(
    new URL('../../../scripts/services/form-cluster.mjs', import.meta.url).href
  )) as Former;
  const all = { 'cluster-enabled': 'yes', 'cluster-node-timeout': `${NODE_TIMEOUT_MS}`, ...settings };
  const members = await Promise.all(
    Array.from({ length: (1 + replicas) * MASTERS }, async (): Promise<Member> => {
      const server = await startRedisServer(all, { busPort: true });
      const client = new Redis(server.port, '127.0.0.1', { maxRetriesPerRequest: 1 });
      client.on('error', () => undefined);
      return { server, client };
    }),
  );
  await formCluster(
    members.map(({ server }) => server.port),
    MASTERS,
  );
  const alive = new Set(members);

  async function masterOf(slot: number): Promise<Member> {
    for (const { client } of alive) {
      const ranges = (await client.cluster('SLOTS')) as unknown as [number, number, [string, number]][];
      const port = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][1];
      const member = [...alive].find(({ server }) => server.port === port);
      if (member !== undefined) return member;
    }
    throw new Error(`no server has slot ${slot}`);
  }
  async function masters(): Promise<Member[]> {
    const roles = await Promise.all(
      Array.from(alive, async (member) => [member, await member.client.info('replication')] as const),
    );
    return roles.filter(([, info]) => info.includes('role:master')).map(([member]) => member);
  }

  return {
    url: `redis+cluster://${members.map(({ server }) => `127.0.0.1:${server.port}`).join()}`,
    masterOf: async (key) => (await masterOf(slotOf(key))).server.port,
    async configure(key, option, value) {
      await (await masterOf(slotOf(key))).client.config('SET', option, value);
    },
    async failOver(key) {
      const slot = slotOf(key);
      const old = await masterOf(slot);
      alive.delete(old);
      await old.server.kill();
      await eventually(async () => {
        const [owner, states] = await Promise.all([
          masterOf(slot).catch(() => old),
          Promise.all(Array.from(alive, ({ client }) => client.cluster('INFO'))),
        ]);
        return owner !== old && states.every((state) => state.includes('cluster_state:ok'));
      }, 'the replica takes the place of its master');
    },
    async migrate(key, during) {
      const slot = slotOf(key);
      const from = await masterOf(slot);
      const to = (await masters()).find((member) => member !== from) as Member;
      const [fromId, toId] = (await Promise.all([from, to].map(({ client }) => client.cluster('MYID')))) as [
        string,
        string,
      ];
      await to.client.cluster('SETSLOT', slot, 'IMPORTING', fromId);
      await from.client.cluster('SETSLOT', slot, 'MIGRATING', toId);
      let isHalf = false;
      for (;;) {
        const keys = await from.client.cluster('GETKEYSINSLOT', slot, MOVED_TOGETHER);
        if (keys.length === 0) break;
        const moved = isHalf || during === undefined ? keys : keys.slice(0, Math.ceil(keys.length / 2));
        await from.client.call('MIGRATE', '127.0.0.1', to.server.port, '', 0, 5000, 'KEYS', ...moved);
        if (!isHalf) await during?.();
        isHalf = true;
      }
      for (const { client } of [to, from]) await client.cluster('SETSLOT', slot, 'NODE', toId);
      for (const { client } of await masters()) await client.cluster('SETSLOT', slot, 'NODE', toId);
    },
    async freeze(key) {
      const { server } = await masterOf(slotOf(key));
      server.signal('SIGSTOP');
      return () => server.signal('SIGCONT');
    },
    async uncover(key) {
      const slot = slotOf(key);
      for (const { client } of await masters()) await client.cluster('DELSLOTS', slot);
    },
    async close() {
      for (const { client } of members) client.disconnect();
      await Promise.all(members.map(({ server }) => server.close()));
    },
  };
}
