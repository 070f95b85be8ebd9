import { Counter, Gauge, type Registry } from 'prom-client';
import type { PeerObserver } from '../peers/follow.ts';
import { seconds } from './registry.ts';

/** How this deployment and its peers agree. A peer that this process has not compared yet has no series. */
export function peerMetrics(registry: Registry): PeerObserver {
  const registers = [registry];
  const comparisons = new Counter({
    name: 'tierline_peer_comparisons_total',
    help: 'Comparisons with a peer by this process, by result: equal, different afterwards, or failed',
    labelNames: ['peer', 'result'],
    registers,
  });
  const lastEqual = new Gauge({
    name: 'tierline_peer_last_equal_timestamp_seconds',
    help: 'When this process last found the peer equal, in seconds since 1970',
    labelNames: ['peer'],
    registers,
  });
  const differences = new Gauge({
    name: 'tierline_peer_differences',
    help: 'Rows that still differed from the peer after the last comparison',
    labelNames: ['peer'],
    registers,
  });
  const moved = new Counter({
    name: 'tierline_peer_rows_moved_total',
    help: 'Rows that repairs moved, by direction: pull from the peer, or push to it',
    labelNames: ['peer', 'direction'],
    registers,
  });
  const bytes = new Counter({
    name: 'tierline_peer_bytes_total',
    help: 'Bytes of requests to the peer and of their answers',
    labelNames: ['peer'],
    registers,
  });
  return {
    compared(peer, { equal, left, pulled, pushed }, traffic) {
      comparisons.inc({ peer, result: equal ? 'equal' : 'different' });
      if (equal) lastEqual.set({ peer }, seconds(Date.now()));
      differences.set({ peer }, left);
      moved.inc({ peer, direction: 'pull' }, pulled.rows);
      moved.inc({ peer, direction: 'push' }, pushed.rows);
      bytes.inc({ peer }, traffic);
    },
    failed(peer) {
      comparisons.inc({ peer, result: 'failed' });
    },
  };
}
