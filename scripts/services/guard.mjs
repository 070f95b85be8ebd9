// Stands between a script and one program it starts, so that the program never outlives the script. File
// descriptor 3 is a pipe to the script: the kernel closes it however the script ends, SIGKILL included, and then
// the program is stopped and its data folder removed. A signal name written to the pipe is passed on.
//
// Usage: node guard.mjs '<json>' with
//   run, prepare   {command, args}: the program, and the commands that must succeed before it
//   folder, owner  a folder made for the program, its log inside, and the {uid, gid} to run as
//   stopSignal, graceMs  how to ask it to stop, and when to stop asking
//   group          signal everything the program started too (for commands that go through a shell)
import { spawn } from 'node:child_process';
import { chownSync, closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';

const { run, prepare = [], folder, owner, stopSignal, graceMs, group } = JSON.parse(process.argv[2]);
const tailBytes = 4_000;
let child;
let stopping = false;

const script = new Socket({ fd: 3 });
script.setEncoding('utf8');
script.on('data', (names) => names.trim().split('\n').forEach(signal));
script.on('error', () => {});
script.on('close', stop);
process.on('SIGTERM', stop);
process.on('SIGHUP', stop);
// A terminal sends Ctrl-C to the program as well; what it means is up to the program.
process.on('SIGINT', () => {});
// Nobody may be left to read what is written here.
process.stderr.on('error', () => {});

const code = await main();
process.exit(code);

async function main() {
  const log = folder === undefined ? undefined : openLog();
  try {
    for (const step of prepare) {
      const status = await start(step, log);
      if (status !== 0) return status;
    }
    return await start(run, log);
  } finally {
    if (log !== undefined) {
      closeSync(log);
      process.stderr.write(readFileSync(join(folder, 'log')).subarray(-tailBytes));
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
  }
}

function openLog() {
  mkdirSync(folder, { mode: 0o700 });
  if (owner) chownSync(folder, owner.uid, owner.gid);
  return openSync(join(folder, 'log'), 'a+');
}

function start({ command, args }, log) {
  if (stopping) return 1;
  return new Promise((resolve) => {
    const stdio = log === undefined ? 'inherit' : ['ignore', log, log];
    child = spawn(command, args, { ...owner, cwd: folder, stdio, detached: group === true });
    child.on('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      resolve(127);
    });
    child.on('exit', (status, name) => resolve(status ?? 128 + constants.signals[name]));
  });
}

function stop() {
  if (stopping) return;
  stopping = true;
  signal(stopSignal);
  setTimeout(signal, graceMs, 'SIGKILL');
}

function signal(name) {
  if (child?.pid === undefined) return;
  try {
    process.kill(group ? -child.pid : child.pid, name);
  } catch {
    // It ended a moment ago.
  }
}
