import { register, type ResolveHook } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** A program for `node --import`: SIGTERM comes while the process is still loading its modules, at the first sight of zod. */
if (isMainThread) register(import.meta.url);

/** Every module that imports zod is a sight of it, and a second signal would end the process with 1. */
let seen = false;

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'zod' && !seen) {
    seen = true;
    process.kill(process.pid, 'SIGTERM');
  }
  return next(specifier, context);
};
