import { loadConfig } from '../../src/config.ts';
import { placeOf } from './place.ts';
import { WRITE_PEERS } from './write-peers.ts';

/** How often at most the bench is told. */
const TELL_MS = 5;

/** A worker of the peer that is named, as a process. It tells its parent how many items it has stored. */
const name = process.argv[2] as string;
let stored = 0;
let timer: NodeJS.Timeout | undefined;

await WRITE_PEERS[name]?.consume(placeOf(name, loadConfig()), (items) => {
  stored += items;
  timer ??= setTimeout(() => {
    timer = undefined;
    process.send?.(stored);
  }, TELL_MS);
});
// It has begun.
process.send?.(stored);
process.on('disconnect', () => process.exit(0));
