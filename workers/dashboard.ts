import { text } from 'node:stream/consumers';
import { loadConfig } from '../src/config.ts';
import { hashPassword } from '../src/dashboard/password.ts';
import { startDashboard } from '../src/dashboard/start-dashboard.ts';
import { runService } from '../src/lifecycle/run-service.ts';
import { createLogger } from '../src/log.ts';

if (process.argv[2] === '--hash-password') {
  // From standard input: an argument would stand in the shell's history and in the list of processes.
  const password = (await text(process.stdin)).replace(/\r?\n$/, '');
  if (password === '') {
    console.error('Give the password on standard input.');
    process.exitCode = 2;
  } else {
    console.log(await hashPassword(password));
  }
} else {
  const config = loadConfig();
  await runService(startDashboard, createLogger('dashboard', config.logLevel), config.shutdownMs);
}
