import { aptInstall, canInstall } from '../apt.mjs';

/** Installs Redis where that is possible without asking anybody. Ours runs beside a service the package may start. */
export function installRedis(log) {
  if (!canInstall()) return false;
  log('No Redis on this machine: installing it with apt-get');
  return aptInstall(['redis-server'], log);
}
