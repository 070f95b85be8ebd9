import net from 'node:net';
import type { ShardOption } from '../../src/shard-list.ts';
import type { Deployment } from './deployment.ts';
import { freePort } from './free-port.ts';

/**
 * A TCP relay between a client and Redis or Postgres, to take the server away and bring it back.
 *
 * `open`: relays. `refused`: the port does not listen, as when the server is down. `frozen`: connections stand, and new
 * ones are taken, but not a byte passes until it is open again, as when the network drops packets.
 */
export interface Proxy {
  /** The server's URL, through the relay. */
  readonly url: string;
  /** New connections go to another server; those that stand stay, as when a replica takes over. */
  retarget(serverUrl: string): void;
  /** Ends the connections; new ones are relayed. */
  cut(): void;
  /** Ends the connections and refuses new ones. */
  refuse(): Promise<void>;
  freeze(): void;
  /**
   * Keeps what the next connection sends from the request that holds `marker` on, as a network that delays a packet. The server
   * gets it with `release`, also when the client has gone.
   */
  holdFrom(marker: string): Held;
  open(): Promise<void>;
  close(): Promise<void>;
}

export interface Held {
  /** Resolves when the request was sent. */
  readonly reached: Promise<void>;
  release(): void;
}

const CLUSTER = 'redis+cluster://';

/** A relay before each database of a deployment. */
export interface DatabaseProxy extends Omit<Proxy, 'url' | 'retarget'> {
  /** Options that lead through the relays. */
  readonly options: { readonly databaseUrl: string; readonly shards: ShardOption[] };
  /** The same for processes. */
  readonly env: { readonly DATABASE_URL: string; readonly TIERLINE_SHARDS: string };
}

export async function startDatabaseProxy({ options }: Deployment): Promise<DatabaseProxy> {
  const main = await startProxy(options.databaseUrl);
  const others = await Promise.all((options.shards ?? []).slice(1).map(({ url }) => startProxy(url)));
  const relays = [main, ...others];
  const shards = (options.shards ?? []).map(({ name }, i) => ({ name, url: (relays[i] as Proxy).url }));
  return {
    ...together(relays),
    options: { databaseUrl: main.url, shards },
    env: { DATABASE_URL: main.url, TIERLINE_SHARDS: shards.map(({ name, url }) => `${name}=${url}`).join() },
  };
}

/** @param serverUrl of Postgres, of one Redis, or of a Redis Cluster: then every server of it has a relay */
export async function startProxy(serverUrl: string): Promise<Proxy> {
  if (serverUrl.startsWith(CLUSTER)) return startClusterProxy(serverUrl);
  const relay = await startRelay(new URL(serverUrl));
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String(relay.port);
  return { ...relay, url: url.href };
}

/** The servers of a cluster name each other's addresses to clients, so the relays put their own in place of those. */
async function startClusterProxy(clusterUrl: string): Promise<Proxy> {
  const hosts = clusterUrl.slice(CLUSTER.length).split(',');
  const ports = new Map<string, number>();
  const readdress = (bytes: Buffer) => (bytes.includes('127.0.0.1') ? withPorts(bytes, ports) : bytes);
  const relays = await Promise.all(hosts.map((host) => startRelay(new URL(`redis://${host}`), readdress)));
  hosts.forEach((host, i) => ports.set(new URL(`redis://${host}`).port, (relays[i] as Relay).port));
  return {
    ...together(relays),
    url: `${CLUSTER}${relays.map(({ port }) => `127.0.0.1:${port}`).join()}`,
    retarget() {
      throw new Error('a cluster decides itself which of its servers takes over');
    },
  };
}

/** Several relays as one. */
function together(relays: readonly Omit<Proxy, 'url'>[]): Omit<Proxy, 'url' | 'retarget'> {
  return {
    cut: () => relays.forEach((relay) => relay.cut()),
    refuse: async () => void (await Promise.all(relays.map((relay) => relay.refuse()))),
    freeze: () => relays.forEach((relay) => relay.freeze()),
    holdFrom(marker) {
      const held = relays.map((relay) => relay.holdFrom(marker));
      return {
        reached: Promise.race(held.map(({ reached }) => reached)),
        release: () => held.forEach(({ release }) => release()),
      };
    },
    open: async () => void (await Promise.all(relays.map((relay) => relay.open()))),
    close: async () => void (await Promise.all(relays.map((relay) => relay.close()))),
  };
}

/** Addresses as CLUSTER SLOTS and MOVED have them. Neither is part of a text that is sent with its length. */
function withPorts(reply: Buffer, ports: ReadonlyMap<string, number>): Buffer {
  const text = reply
    .toString('latin1')
    .replaceAll(
      /(127\.0\.0\.1(?::|\r\n:))(\d+)/g,
      (_, before: string, port: string) => `${before}${ports.get(port) ?? port}`,
    );
  return Buffer.from(text, 'latin1');
}

interface Relay extends Omit<Proxy, 'url'> {
  readonly port: number;
}

/** @param asTold what the client gets of what the server sends */
async function startRelay(server: URL, asTold: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<Relay> {
  let target = server;
  const pairs = new Set<readonly [net.Socket, net.Socket]>();
  let frozen = false;
  let marker: Buffer | undefined;
  let onReached: (() => void) | undefined;
  let held: { readonly upstream: net.Socket; readonly requests: Buffer[] } | undefined;

  function isHeld(upstream: net.Socket, request: Buffer): boolean {
    if (held === undefined && marker !== undefined && request.includes(marker)) {
      held = { upstream, requests: [] };
      onReached?.();
    }
    if (held?.upstream !== upstream) return false;
    held.requests.push(request);
    return true;
  }

  const listener = net.createServer((client) => {
    const upstream = net.connect(Number(target.port), target.hostname);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.on('data', (bytes) => {
        if (from === upstream) to.write(asTold(bytes));
        else if (!isHeld(upstream, bytes)) to.write(bytes);
      });
      from.on('error', () => end(pair));
      from.on('close', () => end(pair));
    }
    if (frozen) pause(pair);
  });

  function end(pair: readonly [net.Socket, net.Socket]): void {
    pairs.delete(pair);
    for (const socket of pair) if (socket !== held?.upstream) socket.destroy();
  }
  function cut(): void {
    for (const pair of pairs) end(pair);
  }
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(port, '127.0.0.1', () => {
        listener.off('error', reject);
        resolve();
      });
    });
  const unlisten = () =>
    new Promise<void>((resolve) => (listener.listening ? listener.close(() => resolve()) : resolve()));

  const port = await freePort();
  await listen(port);
  const refuse = async () => {
    cut();
    await unlisten();
  };
  return {
    port,
    retarget(otherUrl) {
      target = new URL(otherUrl);
    },
    cut,
    refuse,
    freeze() {
      frozen = true;
      for (const pair of pairs) pause(pair);
    },
    holdFrom(text) {
      marker = Buffer.from(text);
      const reached = new Promise<void>((resolve) => {
        onReached = resolve;
      });
      return {
        reached,
        release() {
          const { upstream, requests } = held ?? {};
          held = undefined;
          marker = undefined;
          upstream?.end(Buffer.concat(requests ?? []));
        },
      };
    },
    async open() {
      frozen = false;
      for (const pair of pairs) for (const socket of pair) socket.resume();
      if (!listener.listening) await listen(port);
    },
    close: refuse,
  };
}

function pause(pair: readonly [net.Socket, net.Socket]): void {
  for (const socket of pair) socket.pause();
}
