import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { serversOf } from '../helpers/redis-keys.ts';

for (const [name, open] of Object.entries({ openProducer, openReader, openStore, startDrain })) {
  test(`${name}: a signal frees the caller, and what opens after that is closed again`, async (t) => {
    const deployment = await createDeployment();
    t.teardown(() => deployment.close());
    const { redis } = deployment;
    const servers = serversOf(redis);
    const clients = async () => (await Promise.all(servers.map((server) => server.client('LIST')))).join();
    const named = `tierline-opening-${name}`;
    for (const server of servers) await server.acl('SETUSER', named, 'on', 'nopass', '~*', '&*', '+@all');
    const redisUrl = deployment.options.redisUrl.replace('://', `://${named}:any@`);
    const options = { ...deployment.options, redisUrl };

    const stop = new AbortController();
    const opening = open({ ...options, signal: stop.signal });
    stop.abort(new Error('enough'));
    await t.throwsAsync(opening, { message: 'enough' });
    await t.throwsAsync(open({ ...options, signal: stop.signal }), { message: 'enough' });
    const opened = await open({ ...options, signal: new AbortController().signal });
    t.true((await clients()).includes(`user=${named}`));
    await opened.close();
    await eventually(async () => !(await clients()).includes(`user=${named}`), 'no connection is left');
    for (const server of servers) await server.acl('DELUSER', named);
  });
}
