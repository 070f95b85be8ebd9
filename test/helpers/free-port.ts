interface Ports {
  /** A port of 127.0.0.1 that nobody listens on. The one that is `nearPort` higher is free, too. */
  freePort(nearPort?: number): Promise<number>;
}

/** Of the scripts, which start servers too. They are no part of the build. */
const file = new URL('../../../scripts/services/free-port.mjs', import.meta.url);

export const { freePort } = (await import(file.href)) as Ports;
