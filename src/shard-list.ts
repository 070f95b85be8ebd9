import { z } from 'zod';

/** An entry ends before the next one begins, so a comma inside a URL splits nothing. */
const BETWEEN = /,(?=\s*(?:[\w.-]+=)?[a-z+]+:\/\/)/i;
const ENTRY = /^(?:([\w.-]+)=)?(postgres(?:ql)?:\/\/.*)$/;

interface NamedUrl {
  readonly name: string | undefined;
  readonly url: string;
}

/** Takes a list of `name=url` apart, with commas between entries. An entry that is neither keeps its text as URL. */
function parseNamedUrls(text: string): NamedUrl[] {
  return text.split(BETWEEN).map((part) => {
    const [, name, url] = ENTRY.exec(part.trim()) ?? [];
    return { name: url === undefined ? undefined : name, url: url ?? part.trim() };
  });
}

/** One Postgres database of a deployment, by the name that the map of its partitions has for it. */
export interface ShardOption {
  readonly name: string;
  readonly url: string;
}

/** The name of the only shard of a deployment that names none. */
const ONLY_SHARD = 'main';

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
  return z.union([z.string().transform(parseShards), z.array(z.unknown())]).pipe(entries);
}

function parseShards(text: string): ShardOption[] {
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

/** A read replica of one shard's database. */
interface ReplicaOption {
  /** Name of the shard whose primary it replicates. */
  readonly shard: string;
  readonly url: string;
}

/**
 * The list of replicas: `name=url` or, for the only shard, a URL; entries are separated by commas. In code also an array.
 * Messages name an entry by its number, because its URL holds a password.
 * @param url checks one URL
 */
export function replicaList(url: z.ZodType<string>) {
  const entries = z
    .array(
      z.strictObject({
        shard: z.string().default(ONLY_SHARD),
        url: z.string(),
      }),
    )
    .superRefine((list, context) => {
      list.forEach((entry, i) => {
        const parsed = url.safeParse(entry.url);
        if (parsed.success) return;
        const message = `entry ${i + 1} ${parsed.error.issues[0]?.message}; write ${ONLY_SHARD}=postgres://…, and a comma between entries`;
        context.addIssue({ code: 'custom', message, input: undefined });
      });
    });
  return z.union([z.string().transform(parseReplicas), z.array(z.unknown())]).pipe(entries);
}

function parseReplicas(text: string): unknown[] {
  return parseNamedUrls(text).map(({ name, url }) => ({ ...(name !== undefined && { shard: name }), url }));
}

/** Why the replicas do not fit the shards; undefined when they do. @param shards names of the shards; none: there is only one */
export function strangeReplica(
  replicas: readonly ReplicaOption[],
  shards: readonly string[],
): string | undefined {
  const names = shards.length === 0 ? [ONLY_SHARD] : shards;
  const at = replicas.findIndex(({ shard }) => !names.includes(shard));
  if (at === -1) return undefined;
  const name = JSON.stringify(replicas[at]?.shard);
  return shards.length === 0
    ? `entry ${at + 1} names the shard ${name}, which does not exist; the only shard is called ${ONLY_SHARD}: write ${ONLY_SHARD}=postgres://… or the URL alone`
    : `entry ${at + 1} names the shard ${name}, which does not exist; TIERLINE_SHARDS names ${names.join(', ')}: write ${names[0]}=postgres://…`;
}
