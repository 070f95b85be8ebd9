import { runProcess } from '../src/lifecycle/run-process.ts';

await runProcess('maintenance', () => import('./services/maintenance.ts'));
