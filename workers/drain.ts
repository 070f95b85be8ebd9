import { runProcess } from '../src/lifecycle/run-process.ts';

await runProcess('drain', () => import('./services/drain.ts'));
