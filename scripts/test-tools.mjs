// Programs that some tests drive, installed where that is possible without asking anybody; elsewhere the test that needs
// one says how to get it.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { aptInstall, canInstall } from './apt.mjs';

const TOOLS = { chromium: 'chromium', promtool: 'prometheus' };

const missing = Object.entries(TOOLS).filter(([program]) => !isOnPath(program));
if (missing.length > 0 && canInstall()) {
  const packages = missing.map(([, name]) => name);
  say(`installing ${packages.join(' and ')} with apt-get for the tests`);
  aptInstall(packages, say);
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

function say(line) {
  process.stderr.write(`test tools: ${line}\n`);
}
