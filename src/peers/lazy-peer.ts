import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { connectLocalPeer, type OwnPeer } from './local-peer.ts';

/** Opens this deployment as a peer when it is first needed, and again when that failed. */
export class LazyPeer {
  readonly #config: Config;
  readonly #log: Logger;
  #opening: Promise<OwnPeer> | undefined;

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
  }

  /** @throws as `openLocalPeer` */
  open(): Promise<OwnPeer> {
    this.#opening ??= connectLocalPeer(this.#config, this.#log).catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async close(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    await opened?.close();
  }
}
