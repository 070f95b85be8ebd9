import { randomUUID } from 'node:crypto';
import { Digester, leafOf } from '../src/merkle/digest.ts';
import { openPeer, type RemotePeer } from '../src/peers/http-peer.ts';
import { applyRows } from '../src/postgres/apply-batch.ts';
import type { Pool } from '../src/postgres/pool.ts';
import { openReader } from '../src/read/open-reader.ts';
import type { LeafItemOptions, LeafOptions } from '../src/types/merkle.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { startGatewayProcess, TOKEN } from './gateway-process.ts';
import { type Emit, timed } from './metric.ts';
import { figure } from './rounds.ts';
import { fill, rowsOf } from './stored-documents.ts';

const ROUNDS = 5;
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
  // A comparison does not ask the filters of ids, and loading them for a million takes both cores for the first seconds.
  const gateway = await startGatewayProcess(other, { TIERLINE_FILTER_MAX_BYTES: '0' });
  const reader = await openReader({ ...own.options, filterMaxBytes: 0 });
  const peer = openPeer(gateway.url, { token: TOKEN });
  let round = 0;
  /** Writes so many rows anew on the other side and finds them; then this side gets them, too. */
  const compare = async (wanted: number) => {
    round++;
    const changed = Array.from({ length: Math.min(wanted, count) }, (_, i) =>
      itemAt((i * STRIDE + round) % count),
    );
    const newer = changed.map(({ id }) => ({ id, content: 'changed' }));
    const rows = rowsOf(newer, 2 * FIRST_STAMP + round * count, digester);
    await applyRows(other.pool, rows, randomUUID());
    const trips = new RoundTrips(peer);
    const before = peer.traffic.bytes;
    let found: readonly string[] = [];
    const ms = await timed(async () => {
      // Both looks, and as good as no pause between them.
      const { differences } = await reader.merkle.diff(trips.peer, { recheckMs: 1, limit: 2 * wanted });
      found = differences.map(({ id }) => id);
    });
    const bytes = peer.traffic.bytes - before;
    checkSame(
      found,
      changed.map(({ id }) => id),
    );
    await applyRows(own.pool, rows, randomUUID());
    return { ms, trips: trips.count, bytes, leafBytes: await leafBytes(own.pool, found) };
  };
  try {
    // Connections, statements and compiled code are there in a service that has run for a while.
    await compare(1);
    for (const wanted of differing) {
      const rounds: Awaited<ReturnType<typeof compare>>[] = [];
      for (let i = 0; i < ROUNDS; i++) rounds.push(await compare(wanted));
      const told = (name: string, value: (one: (typeof rounds)[number]) => number, unit: string) =>
        emit(name, figure(rounds, value), unit);
      told(`diff_${wanted}_round_trips`, ({ trips }) => trips, 'round trips');
      told(`diff_${wanted}_bytes`, ({ bytes }) => bytes, 'B');
      told(`diff_${wanted}_ms`, ({ ms }) => ms, 'ms');
      told(`whole_leaves_${wanted}_bytes`, ({ leafBytes }) => leafBytes, 'B');
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
  const leaves = [...new Set(ids.map((id) => leafOf(id)))];
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
