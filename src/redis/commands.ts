import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Pipeline, Redis, Server } from './client.ts';

/** A Lua script of `scripts/`, called by its hash and loaded again whenever the server has forgotten it. */
export class Script {
  readonly source: string;
  readonly sha: string;

  /** @param part a file that is put before it: what it shares with other scripts */
  constructor(name: string, part?: string) {
    const files = part === undefined ? [name] : [part, name];
    this.source = files
      .map((file) => readFileSync(new URL(`./scripts/${file}.lua`, import.meta.url), 'utf8'))
      .join('');
    this.sha = createHash('sha1').update(this.source).digest('hex');
  }

  async run(redis: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await redis.evalsha(this.sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return redis.eval(this.source, keys.length, ...keys, ...args);
    }
  }

  async load(server: Server): Promise<void> {
    await server.script('LOAD', this.source);
  }
}

export function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

const readScript = new Script('read-together');
const repliesSchema = z.array(z.unknown());

/**
 * The replies of some reads as of one moment, also while Redis is at its `maxmemory`.
 * @param reads the command and its arguments, at most 7,000
 */
export async function readTogether(
  redis: Redis,
  keys: readonly string[],
  reads: readonly (readonly string[])[],
): Promise<unknown[]> {
  return repliesSchema.parse(await readScript.run(redis, keys, [JSON.stringify(reads)]));
}

export type Reply = readonly [error: Error | null, reply: unknown];

/** What became of each command of a pipeline or transaction, in order. @throws when none was answered */
export async function resultsOf(commands: Pipeline): Promise<Reply[]> {
  return (await commands.exec()) ?? [];
}

/** The replies of a pipeline or transaction, in order. @throws the first error among them */
export async function repliesOf(commands: Pipeline): Promise<unknown[]> {
  return (await resultsOf(commands)).map(([error, reply]) => {
    if (error !== null) throw error;
    return reply;
  });
}

// Text, whatever the types of the driver say.
const timeReply = z.tuple([z.coerce.number(), z.coerce.number()]);

/** The time of the server, in milliseconds since 1970, to the microsecond. */
export async function serverTimeMs(server: Server): Promise<number> {
  return timeToMs(timeReply.parse(await server.time()));
}

export function timeToMs([seconds, microseconds]: readonly [number, number]): number {
  return seconds * 1000 + microseconds / 1000;
}
