import { z } from 'zod';

/** Another deployment that this one keeps itself equal to. */
export interface PeerOption {
  readonly name: string;
  readonly url: string;
}

const NAME = /^[\w.-]{1,40}$/;
const named = z
  .string()
  .regex(NAME, 'has a name that is not 1 to 40 letters, digits, dots, dashes or underscores');

const peer = z.strictObject({
  name: named,
  url: z.url({ protocol: /^https?$/, error: 'has a URL that does not begin with https:// or http://' }),
});
const token = z.strictObject({ name: named, token: z.string().min(1, 'has no token') });

/** Entries `name=value` with commas between them, in code also an array. Messages name an entry by its number: a value may be a secret. */
function list<T extends { readonly name: string }>(entry: z.ZodType<T>, valueKey: string) {
  const parse = (text: string): unknown[] =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map((part) => {
        const at = part.indexOf('=');
        return { name: part.slice(0, Math.max(0, at)), [valueKey]: part.slice(at + 1) };
      });
  return z.union([z.string().transform(parse), z.array(z.unknown())]).transform((entries, context): T[] => {
    const found: T[] = [];
    entries.forEach((one, i) => {
      const { data, error } = entry.safeParse(one);
      const isTaken = found.some(({ name }) => name === data?.name);
      if (error !== undefined) context.addIssue(`entry ${i + 1} ${error.issues[0]?.message}`);
      else if (isTaken) context.addIssue(`entry ${i + 1} has the name of an entry before it`);
      else found.push(data);
    });
    return found;
  });
}

/** `eu=https://eu.example.com,us=https://us.example.com` */
export const peerList = list<PeerOption>(peer, 'url');
/** `eu=TOKEN,us=TOKEN` */
export const peerTokenList = list<{ readonly name: string; readonly token: string }>(token, 'token');
