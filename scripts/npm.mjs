import { execFileSync } from 'node:child_process';

/** Runs npm without its chatter; what it has to say about a failure is passed on. */
export function npm(args, { cwd }) {
  execFileSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}
