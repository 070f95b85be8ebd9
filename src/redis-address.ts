/**
 * Where a Redis is: one server, the servers that its Sentinels name, or a cluster.
 *
 *   redis://[user:pass@]host[:6379][/db]
 *   redis+sentinel://[user:pass@]h1[:26379],h2/name[/db][?sentinelPassword=…&sentinelUsername=…]
 *   redis+cluster://[user:pass@]h1[:6379],h2
 *
 * `rediss` in place of `redis` means TLS. User and password are those of the Redis servers.
 */
export type RedisAddress = SingleAddress | SentinelAddress | ClusterAddress;

export interface SingleAddress {
  readonly kind: 'single';
  readonly url: string;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

interface SeveralServers {
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Some of the servers, or the Sentinels. One that answers is enough. */
  readonly hosts: readonly HostPort[];
}

export interface ClusterAddress extends SeveralServers {
  readonly kind: 'cluster';
}

export interface SentinelAddress extends SeveralServers {
  readonly kind: 'sentinel';
  /** The name under which the Sentinels know the master. */
  readonly name: string;
  readonly db: number;
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
}

const SCHEME = /^(rediss?)(\+sentinel|\+cluster)?:\/\//;
const SEVERAL =
  /^rediss?\+(?:sentinel|cluster):\/\/(?:(?<credentials>[^@/]*)@)?(?<hosts>[^/?@]*)(?<path>\/[^?]*)?(?:\?(?<query>.*))?$/;
const HOST = /^(?<host>\[[\da-fA-F:.]+\]|[\w.-]+)(?::(?<port>\d{1,5}))?$/;

const DEFAULT_PORT = { cluster: 6379, sentinel: 26_379 } as const;
const ESCAPES = 'write special characters of user and password as %XX';

/** An address that cannot be used. The message says how to write it. */
export class AddressError extends Error {}

/** @throws AddressError, whose message never holds a password */
export function parseRedisAddress(text: string): RedisAddress {
  const scheme = SCHEME.exec(text);
  if (scheme === null) {
    throw new AddressError(
      'must start with redis://, redis+sentinel:// or redis+cluster://, or the same with rediss for TLS',
    );
  }
  const tls = scheme[1] === 'rediss';
  if (scheme[2] === undefined) return single(text);
  const kind = scheme[2] === '+cluster' ? 'cluster' : 'sentinel';
  const parts = SEVERAL.exec(text)?.groups;
  if (parts === undefined) throw new AddressError(`is not a URL; ${ESCAPES}`);
  const servers = {
    tls,
    ...credentialsOf(parts['credentials'] ?? ''),
    hosts: hostsOf(parts['hosts'] ?? '', kind),
  };
  const path = (parts['path'] ?? '').split('/').slice(1);
  const query = new URLSearchParams(parts['query'] ?? '');
  return kind === 'cluster' ? cluster(servers, path, query) : sentinel(servers, path, query);
}

function single(text: string): SingleAddress {
  try {
    const { username, password, hostname, pathname } = new URL(text);
    // Drivers decode user, password and path.
    for (const part of [username, password, hostname, pathname]) decodeURIComponent(part);
  } catch {
    throw new AddressError(
      /^[^/]*\/\/[^/]*,/.test(text)
        ? 'names several servers; start it with redis+cluster:// or redis+sentinel://'
        : `is not a URL; ${ESCAPES}`,
    );
  }
  return { kind: 'single', url: text };
}

function cluster(servers: SeveralServers, path: readonly string[], query: URLSearchParams): ClusterAddress {
  if (path.some((part) => part !== '' && part !== '0')) {
    throw new AddressError('has a path; a Redis Cluster has database 0 alone, so leave the path out');
  }
  refuseOthers(query, []);
  return { kind: 'cluster', ...servers };
}

function sentinel(servers: SeveralServers, path: readonly string[], query: URLSearchParams): SentinelAddress {
  const [name = '', db = '0', ...rest] = path.map(decoded);
  if (name === '') {
    throw new AddressError('lacks the name of the master; write redis+sentinel://host1,host2/name');
  }
  if (!/^\d{0,5}$/.test(db) || rest.length > 0) {
    throw new AddressError('must end with /name or /name/db, where db is a number');
  }
  refuseOthers(query, ['sentinelUsername', 'sentinelPassword']);
  return {
    kind: 'sentinel',
    ...servers,
    name,
    db: Number(db),
    sentinelUsername: query.get('sentinelUsername') ?? undefined,
    sentinelPassword: query.get('sentinelPassword') ?? undefined,
  };
}

function refuseOthers(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (known.includes(name)) continue;
    const rule = known.length === 0 ? 'takes none' : `takes ${known.join(' and ')}`;
    throw new AddressError(`has the parameter ${name}; this kind of address ${rule}`);
  }
}

function credentialsOf(text: string): Pick<SeveralServers, 'username' | 'password'> {
  const at = text.indexOf(':');
  const [username, password] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
  return { username: decoded(username) || undefined, password: decoded(password) || undefined };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new AddressError(`is not a URL; ${ESCAPES}`);
  }
}

function hostsOf(text: string, kind: 'cluster' | 'sentinel'): HostPort[] {
  return text.split(',').map((part) => {
    const found = HOST.exec(part)?.groups;
    const port = Number(found?.['port'] ?? DEFAULT_PORT[kind]);
    if (found === undefined || port < 1 || port > 65_535) {
      throw new AddressError(
        `must name its servers as host or host:port with commas between them, as in redis+${kind}://host1:${DEFAULT_PORT[kind]},host2`,
      );
    }
    return { host: (found['host'] as string).replace(/^\[|\]$/g, ''), port };
  });
}
