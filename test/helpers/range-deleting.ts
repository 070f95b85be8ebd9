import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { HeapPeak } from './heap-use.ts';

/** Deletes a prefix with a worker in the same process, whose memory is the two of them alone. */
export interface RangeDeleteReport {
  readonly deleted: number;
  readonly heapBytes: number;
}

/** A collection takes up to 50 ms. */
const SAMPLE_EVERY_MS = 250;

const prefix = process.argv[2] as string;
const worker = await startDrain({ logLevel: 'silent' });
const producer = await openProducer({ logLevel: 'silent' });
const peak = new HeapPeak();
const sampling = setInterval(() => peak.sample(), SAMPLE_EVERY_MS);
const { deleted } = await (await producer.deletePrefix(prefix)).settled();
clearInterval(sampling);
await producer.close();
await worker.close();
const report: RangeDeleteReport = { deleted, heapBytes: peak.bytes };
process.stdout.write(JSON.stringify(report));
