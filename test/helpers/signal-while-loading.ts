import { register, type ResolveHook } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** A program for `node --import`: SIGTERM comes while the process is still loading its modules, at the first sight of zod. */
if (isMainThread) register(import.meta.url);

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'zod') process.kill(process.pid, 'SIGTERM');
  return next(specifier, context);
};
