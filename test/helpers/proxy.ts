import net from 'node:net';
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

export async function startProxy(serverUrl: string): Promise<Proxy> {
  let target = new URL(serverUrl);
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

  const server = net.createServer((client) => {
    const upstream = net.connect(Number(target.port), target.hostname);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.on('data', (bytes) => {
        if (from === upstream || !isHeld(upstream, bytes)) to.write(bytes);
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
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  const unlisten = () =>
    new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve()));

  const port = await freePort();
  await listen(port);
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  const refuse = async () => {
    cut();
    await unlisten();
  };
  return {
    url: url.href,
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
      if (!server.listening) await listen(port);
    },
    close: refuse,
  };
}

function pause(pair: readonly [net.Socket, net.Socket]): void {
  for (const socket of pair) socket.pause();
}
