import { z } from 'zod';
import { parseNamedUrls } from './named-urls.ts';
import { ONLY_SHARD } from './shard-list.ts';

/** A read replica of one shard's database. */
export interface ReplicaOption {
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
  return z.union([z.string().transform(parseList), z.array(z.unknown())]).pipe(entries);
}

function parseList(text: string): unknown[] {
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
