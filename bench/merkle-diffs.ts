import { randomUUID } from 'node:crypto';
import { Digester, keyHash } from '../src/merkle/digest.ts';
import { openPeer, type RemotePeer } from '../src/peers/http-peer.ts';
import { applyRows } from '../src/postgres/apply-batch.ts';
import type { Pool } from '../src/postgres/pool.ts';
import { openReader } from '../src/read/open-reader.ts';
import type { LeafItemOptions, LeafOptions } from '../src/types/merkle.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startGatewayProcess, TOKEN } from './gateway-process.ts';
import { type Emit, timed } from './metric.ts';
import { fill, rowsOf } from './stored-documents.ts';

const FIRST_STAMP = 1_700_000_000_000_000;
/** So that the changed ids are in leaves far apart: coprime to the numbers of items that are used. */
const STRIDE = 7919;
/** `leaf` of an `id_hash`. */
const LEAF_SHIFT = 15;

/** Over HTTP on loopback, the same items on both sides: what finding some that differ takes, and that exactly those are found. */
export async function merkleDiffs(
  emit: Emit,
  count: number,
  differing: readonly number[],
  itemAt: (i: number) => NewItem,
): Promise<void> {
  const [own, other] = await Promise.all([createDeployment(), createDeployment()]);
  const digester = new Digester();
  await fill([own.pool, other.pool], count, FIRST_STAMP, digester, itemAt);
  const gateway = await startGatewayProcess(other);
  const reader = await openReader(own.options);
  const peer = openPeer(gateway.url, { token: TOKEN });
  try {
    // Connections and statements are there in a service that has run for a while.
    await reader.merkle.diff(peer, { recheckMs: 1 });
    for (const wanted of differing) {
      const changed = Array.from({ length: Math.min(wanted, count) }, (_, i) => itemAt((i * STRIDE) % count));
      const newer = changed.map(({ id }) => ({ id, content: 'changed' }));
      await applyRows(other.pool, rowsOf(newer, 2 * FIRST_STAMP, digester), randomUUID());
      const trips = new RoundTrips(peer);
      const before = peer.traffic.bytes;
      let found: readonly string[] = [];
      const ms = await timed(async () => {
        // Both looks, and as good as no pause between them.
        const { differences } = await reader.merkle.diff(trips.peer, { recheckMs: 1, limit: 2 * wanted });
        found = differences.map(({ id }) => id);
      });
      checkSame(
        found,
        changed.map(({ id }) => id),
      );
      emit(`diff_${wanted}_round_trips`, trips.count, 'round trips');
      emit(`diff_${wanted}_bytes`, peer.traffic.bytes - before, 'B');
      emit(`diff_${wanted}_ms`, ms, 'ms');
      emit(`whole_leaves_${wanted}_bytes`, await leafBytes(own.pool, found), 'B');
    }
  } finally {
    peer.close();
    await reader.close();
    await gateway.stop();
    await own.close();
    await other.close();
  }
}

function checkSame(found: readonly string[], changed: readonly string[]): void {
  const wanted = new Set(changed);
  if (found.length === wanted.size && found.every((id) => wanted.has(id))) return;
  throw new Error(`${found.length} differences were found, but ${wanted.size} rows were changed`);
}

/** Ids and contents of all items in the leaves of these ids: what a sync sends that does not list leaves first. */
async function leafBytes(pool: Pool, ids: readonly string[]): Promise<number> {
  const leaves = [...new Set(ids.map((id) => keyHash(id) >> LEAF_SHIFT))];
  const { rows } = await pool.query<{ bytes: number }>(
    `SELECT sum(octet_length(id) + octet_length(content::text))::bigint AS bytes FROM items, unnest($1::int[]) AS leaf
     WHERE tombstone_week = 0 AND id_hash BETWEEN leaf << ${LEAF_SHIFT} AND (leaf << ${LEAF_SHIFT}) + ${2 ** LEAF_SHIFT - 1}`,
    [leaves],
  );
  return rows[0]?.bytes ?? 0;
}

/** Counts how often a peer is waited for: requests that are under way together are one round trip. */
class RoundTrips {
  count = 0;
  #underWay = 0;
  readonly peer;

  constructor(to: RemotePeer) {
    this.peer = {
      identity: () => this.#counted(to.identity()),
      root: () => this.#counted(to.root()),
      leaves: (options: LeafOptions) => this.#counted(to.leaves(options)),
      leafItems: (leaves: readonly number[], options?: LeafItemOptions) =>
        this.#counted(to.leafItems(leaves, options)),
      itemsOf: (ids: readonly string[], options?: LeafItemOptions) => this.#counted(to.itemsOf(ids, options)),
    };
  }

  async #counted<T>(answer: Promise<T>): Promise<T> {
    if (this.#underWay++ === 0) this.count++;
    try {
      return await answer;
    } finally {
      this.#underWay--;
    }
  }
}
