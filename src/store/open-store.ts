import { loadConfig, type Options } from '../config.ts';
import { createLogger } from '../log.ts';
import { connectProducer } from '../producer/open-producer.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { connectReader } from '../read/open-reader.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Store } from '../types.ts';
import { OwnWrites } from './own-writes.ts';

/**
 * Opens both sides in one process: `get` returns an accepted write at once (I11).
 * @throws what `openProducer` and `openReader` throw
 */
export async function openStore(options: Options = {}): Promise<Store> {
  const config = loadConfig(options);
  const log = createLogger('store', config.logLevel);
  const own = new OwnWrites();
  const producer = await connectProducer(config, log, {
    onAccepted: (operation, ticket) => own.accepted(operation, ticket),
    onSettled: (chunk) => own.settled(chunk),
  });
  let reader: TieredReader;
  try {
    reader = await connectReader(config, log, own);
  } catch (error) {
    await producer.close();
    throw error;
  }
  return combine(producer, reader);
}

function combine(producer: QueueProducer, reader: TieredReader): Store {
  const close = async () => {
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
    getMany: reader.getMany.bind(reader),
    status: reader.status.bind(reader),
    merkle: reader.merkle,
    close,
    [Symbol.asyncDispose]: close,
  };
}
