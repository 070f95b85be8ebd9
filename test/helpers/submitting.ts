/** A process that submits one item, whose id and content are its arguments, and then lives on. */
import { openProducer } from '../../src/producer/open-producer.ts';

const [id = '', content = ''] = process.argv.slice(2);
const producer = await openProducer();
await producer.submit({ id, content });
