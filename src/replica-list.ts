import { z } from 'zod';

/** A read replica of one shard's database. */
export interface ReplicaOption {
  /** Name of the shard whose primary it replicates. */
  readonly shard: string;
  readonly url: string;
}

/** The name of the only shard of a deployment that names none. */
export const ONLY_SHARD = 'main';

/** An entry ends before the next one begins, so a comma inside a URL splits nothing. */
const BETWEEN = /,(?=\s*(?:[\w.-]+=)?[a-z+]+:\/\/)/i;
const ENTRY = /^(?:([\w.-]+)=)?(postgres(?:ql)?:\/\/.*)$/;

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
        const problem = problemOf(entry, url);
        if (problem !== undefined) {
          context.addIssue({ code: 'custom', message: `entry ${i + 1} ${problem}`, input: undefined });
        }
      });
    });
  return z.union([z.string().transform(parseList), z.array(z.unknown())]).pipe(entries);
}

/** Text that is no entry stays as a URL, which the check of URLs then refuses. */
function parseList(text: string): unknown[] {
  return text.split(BETWEEN).map((part) => {
    const [, shard, url] = ENTRY.exec(part.trim()) ?? [];
    return url === undefined ? { url: part.trim() } : { ...(shard !== undefined && { shard }), url };
  });
}

function problemOf({ shard, url }: ReplicaOption, urls: z.ZodType<string>): string | undefined {
  if (shard !== ONLY_SHARD) {
    return `names the shard ${JSON.stringify(shard)}, which does not exist; the only shard is called ${ONLY_SHARD}: write ${ONLY_SHARD}=postgres://… or the URL alone`;
  }
  const parsed = urls.safeParse(url);
  return parsed.success
    ? undefined
    : `${parsed.error.issues[0]?.message}; write ${ONLY_SHARD}=postgres://…, and a comma between entries`;
}
