import { pino, type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

/** Paths whose values never reach a log line: credentials and what users store. */
const REDACTED = [
  'password',
  'redisUrl',
  'cacheRedisUrl',
  'databaseUrl',
  'replicas',
  'shards',
  'merkleKey',
  'dashboardPasswordHash',
  'dashboardToken',
  'metricsToken',
  'gatewayTokens',
  'peers',
  'peerTokens',
  'authorization',
  'content',
  'body',
  'bodies',
  'payload',
  'data',
].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/** Errors quote URLs. User and password are cut out. */
const CREDENTIALS_IN_URL = /\b(rediss?(?:\+\w+)?|postgres(?:ql)?|https?):\/\/[^\s@/]*@/gi;
const CREDENTIALS_IN_QUERY = /([?&]sentinel(?:Username|Password)=)[^\s&"]*/g;

export function withoutCredentials(text: string): string {
  return text.replace(CREDENTIALS_IN_URL, '$1://[redacted]@').replace(CREDENTIALS_IN_QUERY, '$1[redacted]');
}

/** Protocol, hosts and ports of a URL, for messages: without user and password. Of Sentinels also the master's name. */
export function serverOf(url: string): string {
  const several = /^(rediss?\+\w+:\/\/)(?:[^/?]*@)?([^/?]*)([^?]*)/.exec(url);
  if (several !== null) return several.slice(1).join('');
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}

/** pino JSON lines on stdout. Errors keep class, code, message and stack; row details of Postgres errors are dropped. */
export function createLogger(name: string, level: string, destination?: DestinationStream): Logger {
  const options = {
    name,
    level,
    redact: { paths: REDACTED, censor: '[redacted]' },
    serializers: { err: describeError },
    hooks: {
      streamWrite: withoutCredentials,
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** The fields of an error that may be logged. Postgres puts row values into others, such as `detail` and `where`. */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = (error as { code?: unknown }).code;
  const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) };
  return {
    type: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    message: error.message,
    stack: error.stack,
    ...cause,
  };
}
