import type { Server } from './client.ts';

const OLDEST_REDIS = [6, 2] as const;

/** What a server says of itself: the fields of INFO by their names. */
export class ServerInfo {
  readonly #fields: ReadonlyMap<string, string>;

  constructor(text: string) {
    this.#fields = new Map(
      text.split('\n').flatMap((line) => {
        const at = line.indexOf(':');
        return at < 0 || line.startsWith('#') ? [] : [[line.slice(0, at), line.slice(at + 1).trimEnd()]];
      }),
    );
  }

  /** @param server of a cluster one of its servers, see masters.ts */
  static async of(server: Server, ...sections: string[]): Promise<ServerInfo> {
    return new ServerInfo(await server.info(...sections));
  }

  /** As `Redis 7.2.4`. */
  get product(): string {
    const valkey = this.text('valkey_version');
    return valkey === undefined ? `Redis ${this.text('redis_version') ?? '0'}` : `Valkey ${valkey}`;
  }

  /** Whether it is Redis 6.2 or newer, or Valkey. */
  get isNewEnough(): boolean {
    if (this.text('valkey_version') !== undefined) return true;
    const [major = 0, minor = 0] = (this.text('redis_version') ?? '0').split('.').map(Number);
    return major > OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor >= OLDEST_REDIS[1]);
  }

  text(name: string): string | undefined {
    return this.#fields.get(name);
  }

  number(name: string): number | undefined {
    const value = Number(this.#fields.get(name));
    return Number.isFinite(value) ? value : undefined;
  }
}
