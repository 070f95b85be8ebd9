import type { Cluster } from 'ioredis';

/** How often a cluster is asked who has which slot. Commands that go astray ask at once. */
const ASK_EVERY_MS = 2000;

const watches = new Map<string, SlotWatch>();

/**
 * Keeps fresh what a connection knows of its cluster's slots, while it is connected. Not by ioredis's own timer: when the cluster
 * is closed while it asks, that timer goes on for ever.
 * @param address names the cluster: connections with the same one share their watch
 */
export function watchSlots(cluster: Cluster, address: string): void {
  cluster.on('ready', () => {
    const watch = watches.get(address) ?? new SlotWatch();
    watches.set(address, watch);
    watch.add(cluster);
  });
  cluster.on('close', () => {
    if (watches.get(address)?.remove(cluster) === true) watches.delete(address);
  });
}

/**
 * Each question takes a new connection to a server and 4 ms of this process. A worker of 8 partitions has 27 connections to the
 * cluster, which took 6 % of a core when each of them asked. So one asks, each in its turn, and the others ask when the answer is
 * another than they know.
 */
class SlotWatch {
  readonly #clusters = new Set<Cluster>();
  #timer: NodeJS.Timeout | undefined;

  add(cluster: Cluster): void {
    this.#clusters.add(cluster);
    this.#timer ??= setInterval(() => this.#ask(), ASK_EVERY_MS).unref();
  }

  /** @returns whether it was the last one */
  remove(cluster: Cluster): boolean {
    this.#clusters.delete(cluster);
    if (this.#clusters.size > 0) return false;
    clearInterval(this.#timer);
    this.#timer = undefined;
    return true;
  }

  #ask(): void {
    const [next] = this.#clusters;
    if (next === undefined) return;
    this.#clusters.delete(next);
    this.#clusters.add(next);
    next.refreshSlotsCache((error) => {
      if (error) return;
      const now = ownersOf(next);
      for (const other of this.#clusters) if (ownersOf(other) !== now) other.refreshSlotsCache();
    });
  }
}

/** Which servers have which slots, as text to compare. */
function ownersOf({ slots }: Cluster): string {
  const ranges: string[] = [];
  let owners: string[] | undefined;
  slots.forEach((servers, slot) => {
    // The slots of one range share an array.
    if (servers === owners) return;
    owners = servers;
    ranges.push(`${slot}:${servers.join()}`);
  });
  return ranges.join(' ');
}
