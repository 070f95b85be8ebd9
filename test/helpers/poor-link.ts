import net from 'node:net';
import type { Random } from './random.ts';

/** A TCP relay that is far away and loses connections. */
export interface PoorLink {
  /** The server's URL, through the relay. */
  readonly url: string;
  /** Connections that were dropped. */
  dropped(): number;
  close(): Promise<void>;
}

interface Poorness {
  /** Milliseconds that bytes are on their way, in each direction. */
  readonly latencyMs: number;
  /**
   * Share of what clients send that ends its connection. Half of it never reaches the server; of the other half the answer is lost,
   * so the server has done what was asked and the client does not know.
   */
  readonly dropRate: number;
  readonly random: Random;
}

/** @param serverUrl of a server that speaks HTTP, where a client waits for each answer before it sends more */
export async function startPoorLink(
  serverUrl: string,
  { latencyMs, dropRate, random }: Poorness,
): Promise<PoorLink> {
  const { hostname, port: serverPort } = new URL(serverUrl);
  const sockets = new Set<net.Socket>();
  let dropped = 0;
  /** Timers of one length fire in their order, so bytes arrive in theirs. */
  const later = (work: () => void) => setTimeout(work, latencyMs);
  /** What is written to an ended socket is lost, as on the way. */
  const send = (to: net.Socket, bytes: Buffer) => later(() => to.writable && to.write(bytes));

  const listener = net.createServer((client) => {
    const server = net.connect(Number(serverPort), hostname);
    let losesAnswer = false;
    const end = () => {
      for (const socket of [client, server]) {
        sockets.delete(socket);
        socket.destroy();
      }
    };
    const drop = () => {
      dropped++;
      end();
    };
    client.on('data', (bytes) => {
      const isDropped = random.chance(dropRate);
      if (isDropped && random.chance(0.5)) drop();
      else {
        losesAnswer ||= isDropped;
        send(server, bytes);
      }
    });
    server.on('data', (bytes) => {
      if (losesAnswer) drop();
      else send(client, bytes);
    });
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => later(end));
    }
  });

  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(0, '127.0.0.1', resolve);
  });
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String((listener.address() as net.AddressInfo).port);
  return {
    url: url.href,
    dropped: () => dropped,
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => listener.close(() => resolve()));
    },
  };
}
