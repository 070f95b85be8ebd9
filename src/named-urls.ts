/** An entry ends before the next one begins, so a comma inside a URL splits nothing. */
const BETWEEN = /,(?=\s*(?:[\w.-]+=)?[a-z+]+:\/\/)/i;
const ENTRY = /^(?:([\w.-]+)=)?(postgres(?:ql)?:\/\/.*)$/;

export interface NamedUrl {
  readonly name: string | undefined;
  readonly url: string;
}

/** Takes a list of `name=url` apart, with commas between entries. An entry that is neither keeps its text as URL. */
export function parseNamedUrls(text: string): NamedUrl[] {
  return text.split(BETWEEN).map((part) => {
    const [, name, url] = ENTRY.exec(part.trim()) ?? [];
    return { name: url === undefined ? undefined : name, url: url ?? part.trim() };
  });
}
