import type { Redis } from 'ioredis';

/** The fields of INFO, as text by their names. */
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

  static async of(redis: Redis, section?: string): Promise<ServerInfo> {
    return new ServerInfo(section === undefined ? await redis.info() : await redis.info(section));
  }

  text(name: string): string | undefined {
    return this.#fields.get(name);
  }

  number(name: string): number | undefined {
    const value = Number(this.#fields.get(name));
    return Number.isFinite(value) ? value : undefined;
  }
}
