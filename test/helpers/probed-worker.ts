import { startWorker, type WorkerProcess } from './worker-process.ts';

export interface ProbedWorker extends WorkerProcess {
  readonly origin: string;
  get(path: string, headers?: Record<string, string>, method?: string): Promise<Response>;
}

/** A worker with its probe server on a free port of loopback. */
export async function probed(name: 'drain' | 'maintenance', env: NodeJS.ProcessEnv): Promise<ProbedWorker> {
  const worker = await startWorker(name, { ...env, TIERLINE_METRICS_PORT: '0' });
  const line = worker
    .output()
    .split('\n')
    .find((line) => line.includes('probes listening'));
  const { port } = JSON.parse(line ?? '{}') as { port?: number };
  const origin = `http://127.0.0.1:${port}`;
  return {
    ...worker,
    origin,
    get: (path, headers = {}, method = 'GET') =>
      // One connection a request: a kept one would outlive the worker in the pool.
      fetch(origin + path, { method, headers: { ...headers, connection: 'close' } }),
  };
}
