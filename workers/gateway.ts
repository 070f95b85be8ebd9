import { runService } from '../src/cli/processes.ts';

await runService('gateway');
