import { z } from 'zod';

/** What a token of the gateway may do: read items and changes, write them, or compare and repair as a peer. */
export const SCOPES = ['read', 'write', 'peer'] as const;
export type Scope = (typeof SCOPES)[number];

export interface GatewayToken {
  /** Stands in the audit lines. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** SHA-256 of the token, 64 hex digits. */
  readonly hash: string;
  /** It may touch only ids that begin with this text; '' is all. */
  readonly prefix: string;
}

const token = z
  .strictObject({
    name: z
      .string()
      .regex(/^[\w.-]{1,40}$/, 'has a name that is not 1 to 40 letters, digits, dots, dashes or underscores'),
    scopes: z.array(z.enum(SCOPES, `has a scope that is not one of ${SCOPES.join(', ')}`)).min(1),
    hash: z.string().regex(/^[\da-f]{64}$/, 'has a hash that is not 64 hex digits'),
    prefix: z
      .string()
      .refine((prefix) => prefix.isWellFormed(), 'has a prefix that is not UTF-8')
      .default(''),
  })
  .refine(({ scopes, prefix }) => prefix === '' || !scopes.includes('peer'), {
    error: 'has the scope peer and a prefix; a peer compares all items, so leave the prefix out',
  });

/**
 * The list of tokens: `name:scopes:hash` or `name:scopes:hash:prefix` with commas or blanks between them, with `+` between scopes,
 * and with the prefix percent-encoded. In code also an array. Messages name an entry by its number.
 */
export const gatewayTokenList = z
  .union([z.string().transform(parseList), z.array(z.unknown())])
  .transform((entries, context): GatewayToken[] => {
    const tokens: GatewayToken[] = [];
    entries.forEach((entry, i) => {
      const { data, error } = token.safeParse(entry);
      const problem = error?.issues[0]?.message ?? repeated(tokens, data);
      if (problem !== undefined)
        context.addIssue(`entry ${i + 1} ${problem}; \`tierline gateway token\` makes one`);
      else if (data !== undefined) tokens.push(data);
    });
    return tokens;
  });

function repeated(tokens: readonly GatewayToken[], given: GatewayToken | undefined): string | undefined {
  if (tokens.some(({ name }) => name === given?.name)) return 'has the name of an entry before it';
  if (tokens.some(({ hash }) => hash === given?.hash)) return 'has the hash of an entry before it';
  return undefined;
}

function parseList(text: string): unknown[] {
  return text
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map((entry) => {
      const [name, scopes = '', hash = '', ...prefix] = entry.split(':');
      return { name, scopes: scopes.split('+'), hash, prefix: decoded(prefix.join(':')) };
    });
}

/** Text that is not percent-encoded UTF-8 becomes a lone surrogate, which the check of the entry then refuses. */
function decoded(prefix: string): string {
  try {
    return decodeURIComponent(prefix);
  } catch {
    return '\ud800';
  }
}

/** The entry of `TIERLINE_GATEWAY_TOKENS` for a token. */
export function tokenEntry({ name, scopes, hash, prefix }: GatewayToken): string {
  const entry = `${name}:${scopes.join('+')}:${hash}`;
  // Commas and blanks stand between entries, and encodeURIComponent keeps neither.
  return prefix === '' ? entry : `${entry}:${encodeURIComponent(prefix)}`;
}
