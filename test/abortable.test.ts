import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { abortable } from '../src/abortable.ts';

test('many calls may wait with one signal, and all are freed by it', async (t) => {
  const warnings: string[] = [];
  const hear = ({ name }: Error) => warnings.push(name);
  process.on('warning', hear);
  t.teardown(() => process.off('warning', hear));
  const controller = new AbortController();
  const waits = Array.from({ length: 50 }, () => abortable(new Promise(() => undefined), controller.signal));
  await setImmediate();
  await setImmediate();
  controller.abort(new Error('enough'));
  const ends = await Promise.allSettled(waits);
  t.true(ends.every((end) => end.status === 'rejected' && end.reason === controller.signal.reason));
  t.false(warnings.includes('MaxListenersExceededWarning'));
});
