import { abortableOpen } from '../abortable.ts';
import { CallGate } from '../call-gate.ts';
import { loadConfig, type OpenOptions, type Options } from '../config.ts';
import { createLogger } from '../log.ts';
import { connectProducer } from '../producer/open-producer.ts';
import { type ProducerObserver, UNOBSERVED_PRODUCER } from '../producer/producer-observer.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { connectReader } from '../read/open-reader.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Store } from '../types/read.ts';
import { GetOrInsert } from './get-or-insert.ts';
import { OwnWrites } from './own-writes.ts';

/**
 * Opens both sides in one process: `get` returns an accepted write at once (I11).
 *
 * Each side follows the feed on a connection of its own. So a write of this process leaves `OwnWrites` when the producer's
 * tail tells that it has settled, and the reader is told in the same moment: its own tail may be behind, and L1 must
 * not answer with what was there before.
 * @throws what `openProducer` and `openReader` throw
 */
export function openStore(
  options?: OpenOptions,
  observer: ProducerObserver = UNOBSERVED_PRODUCER,
): Promise<Store> {
  return abortableOpen(options, (overrides) => connectStore(overrides, observer));
}

async function connectStore(options: Options, observer: ProducerObserver): Promise<Store> {
  const config = loadConfig(options);
  const log = createLogger('store', config.logLevel);
  let reader: TieredReader | undefined;
  const own = new OwnWrites((id, item) => reader?.noteSettled(id, item));
  const producer = await connectProducer(config, log, {
    observer,
    onAccepted: (operation, ticket) => own.accepted(operation, ticket),
    onSettled: (chunk) => own.settled(chunk),
  });
  try {
    reader = await connectReader(config, log, { ownWrites: own });
  } catch (error) {
    await producer.close();
    throw error;
  }
  const gate = new CallGate('store');
  return combine(producer, reader, new GetOrInsert(producer, reader, config, gate), gate);
}

function combine(producer: QueueProducer, reader: TieredReader, inserts: GetOrInsert, gate: CallGate): Store {
  const close = async () => {
    gate.close();
    // Both, also when one fails: an open connection would keep the process alive.
    const results = await Promise.allSettled([producer.close(), reader.close()]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  };
  return {
    submit: producer.submit.bind(producer),
    submitMany: producer.submitMany.bind(producer),
    delete: producer.delete.bind(producer),
    deleteMany: producer.deleteMany.bind(producer),
    setState: producer.setState.bind(producer),
    deleteByState: producer.deleteByState.bind(producer),
    deletePrefix: producer.deletePrefix.bind(producer),
    flush: producer.flush.bind(producer),
    pressure: producer.pressure.bind(producer),
    get: reader.get.bind(reader),
    lookup: reader.lookup.bind(reader),
    peek: reader.peek.bind(reader),
    getMany: reader.getMany.bind(reader),
    contains: reader.contains.bind(reader),
    mightExist: reader.mightExist.bind(reader),
    definitelyMissing: reader.definitelyMissing.bind(reader),
    isCurrent: reader.isCurrent.bind(reader),
    status: reader.status.bind(reader),
    get size() {
      return reader.size;
    },
    get sizeBytes() {
      return reader.sizeBytes;
    },
    get isEmpty() {
      return reader.isEmpty;
    },
    get counters() {
      return reader.counters;
    },
    getByState: reader.getByState.bind(reader),
    scanState: reader.scanState.bind(reader),
    countByState: reader.countByState.bind(reader),
    listStateIds: reader.listStateIds.bind(reader),
    getByPrefix: reader.getByPrefix.bind(reader),
    scanPrefix: reader.scanPrefix.bind(reader),
    countPrefix: reader.countPrefix.bind(reader),
    health: reader.health.bind(reader),
    merkle: reader.merkle,
    getOrInsertWith: inserts.run.bind(inserts),
    close,
    [Symbol.asyncDispose]: close,
  };
}
