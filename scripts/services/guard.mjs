// Stands between a script and one program it starts, so that the program never outlives the script. File descriptor 3 is a
// pipe to the script: the kernel closes it however the script ends, SIGKILL included, and then the program is stopped and
// `folder` is removed. A signal name written to the pipe is passed on.
//
// Usage: node guard.mjs '{"command", "args", "owner": {"uid", "gid"}, "folder", "stopSignal", "graceMs"}'
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';

const { command, args, owner, folder, stopSignal, graceMs } = JSON.parse(process.argv[2]);
const child = spawn(command, args, { ...owner, cwd: folder, stdio: 'inherit' });
child.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  end(127);
});
child.on('exit', (status, name) => end(status ?? 128 + constants.signals[name]));

const script = new Socket({ fd: 3 });
script.setEncoding('utf8');
script.on('data', (names) => names.trim().split('\n').forEach(signal));
script.on('error', () => {});
script.once('close', stop);
process.once('SIGTERM', stop);
process.once('SIGHUP', stop);
// A terminal sends Ctrl-C to the program as well; what it means is up to the program.
process.on('SIGINT', () => {});
// Nobody may be left to read what is written here.
process.stderr.on('error', () => {});

function stop() {
  signal(stopSignal);
  setTimeout(signal, graceMs, 'SIGKILL');
}

function signal(name) {
  child.kill(name);
}

function end(code) {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  process.exit(code);
}
