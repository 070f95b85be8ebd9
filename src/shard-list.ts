import { z } from 'zod';
import { parseNamedUrls } from './named-urls.ts';

/** One Postgres database of a deployment, by the name that the map of its partitions has for it. */
export interface ShardOption {
  readonly name: string;
  readonly url: string;
}

/** The name of the only shard of a deployment that names none. */
export const ONLY_SHARD = 'main';

const NAME = /^[\w.-]{1,40}$/;

/**
 * The list of shards: `name=url`, entries separated by commas. In code also an array. Messages name an entry by its number,
 * because its URL holds a password.
 * @param url checks one URL
 */
export function shardList(url: z.ZodType<string>) {
  const entries = z
    .array(z.strictObject({ name: z.string(), url: z.string() }))
    .superRefine((list, context) => {
      list.forEach((entry, i) => {
        const problem = problemOf(entry, list.slice(0, i), url);
        if (problem !== undefined) context.addIssue({ code: 'custom', message: `entry ${i + 1} ${problem}` });
      });
    });
  return z.union([z.string().transform(parseList), z.array(z.unknown())]).pipe(entries);
}

function parseList(text: string): ShardOption[] {
  return parseNamedUrls(text).map(({ name = '', url }) => ({ name, url }));
}

function problemOf(
  { name, url }: ShardOption,
  before: readonly ShardOption[],
  urls: z.ZodType<string>,
): string | undefined {
  const parsed = urls.safeParse(url);
  if (!parsed.success) {
    return `${parsed.error.issues[0]?.message}; write a=postgres://… for each shard, and a comma between them`;
  }
  if (name === '') return 'has no name: write a=postgres://…, and a comma between entries';
  if (!NAME.test(name)) return 'has a name that is not 1 to 40 letters, digits, dots, dashes or underscores';
  const twin = before.findIndex((other) => other.name === name);
  if (twin !== -1) return `has the name of entry ${twin + 1}: give each shard a name of its own`;
  const same = before.findIndex((other) => other.url === url);
  return same === -1
    ? undefined
    : `is the same database as entry ${same + 1}: each shard is a database of its own`;
}

/** The shards of a configuration. Without a list there is one: DATABASE_URL. */
export function shardsOf(config: {
  readonly shards: readonly ShardOption[];
  readonly databaseUrl: string;
}): readonly ShardOption[] {
  return config.shards.length > 0 ? config.shards : [{ name: ONLY_SHARD, url: config.databaseUrl }];
}
