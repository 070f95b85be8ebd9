import { MAX_CHUNK_ITEMS } from './clock.ts';
import { z } from 'zod';
import { gatewayTokenList } from './gateway-tokens.ts';
import { isPartitionCount } from './lanes.ts';
import { PEER_OPTIONS } from './peer-options.ts';
import { MAX_PARTITIONS, partitionList } from './partition.ts';
import {
  bearerToken,
  flag,
  integer,
  milliseconds,
  numeric,
  option,
  postgresUrl,
  redisUrl,
  text,
} from './option.ts';
import { passwordHash } from './password-hash.ts';
import { replicaList, shardList } from './shard-list.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** As much as any deployment can allow. */
export const MAX_CONTENT_BYTES = 64 * MIB;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Every option: the key in code, the environment variable, its unit, what it means, its limits and default. */
export const OPTIONS = {
  redisUrl: option(
    'REDIS_URL',
    'URL',
    'Redis of the queue, clock and change feed: `noeviction`, AOF on. One server, Sentinels or a cluster: docs/redis.md.',
    redisUrl.default('redis://127.0.0.1:6379'),
  ),
  cacheRedisUrl: option(
    'CACHE_REDIS_URL',
    'URL',
    'Redis of the L2 copies, which may evict. Left out: the same as `REDIS_URL`.',
    redisUrl.optional(),
  ),
  databaseUrl: option(
    'DATABASE_URL',
    'URL',
    'Postgres of L3 and the Merkle tables, or a PgBouncer before it (docs/pgbouncer.md).',
    postgresUrl.default('postgres://127.0.0.1:5432/tierline'),
  ),
  shards: option(
    'TIERLINE_SHARDS',
    'list',
    'Postgres databases that share the partitions, `a=postgres://…,b=postgres://…`; then `DATABASE_URL` is not used ([docs/scale.md](docs/scale.md)). Left out: one, `DATABASE_URL`.',
    shardList(postgresUrl).default([]),
  ),
  replicas: option(
    'TIERLINE_REPLICAS',
    'list',
    'Streaming replicas of Postgres that reads by id may use, `main=postgres://…` with commas between them ([docs/replicas.md](docs/replicas.md)). With `TIERLINE_SHARDS` each has the name of its shard.',
    replicaList(postgresUrl).default([]),
  ),
  namespace: option(
    'TIERLINE_NAMESPACE',
    'name',
    'Prefix of every Redis key; deployments that share a Redis need one each.',
    z
      .string()
      .regex(/^[\w.-]{1,40}$/, 'must be 1 to 40 letters, digits, dots, dashes or underscores')
      .default('tierline'),
  ),
  partitions: option(
    'TIERLINE_PARTITIONS',
    'partitions',
    'Partitions of the deployment: a power of two up to 256. `tierline migrate` sets it in an empty database. Elsewhere it is compared with what the deployment has. Left out: what the deployment has; 1 for a new one.',
    integer(1, MAX_PARTITIONS).refine(isPartitionCount, 'must be a power of two').optional(),
  ),
  logLevel: option(
    'TIERLINE_LOG_LEVEL',
    'level',
    'pino level.',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  ),
  merkleKey: option(
    'TIERLINE_MERKLE_KEY',
    'text',
    'Key of the digests (HMAC). All workers and peers need the same; the first worker settles it for good, and processes with another are refused. Services that only write or read need none.',
    z.string().min(16).optional(),
  ),
  maxContentBytes: option(
    'TIERLINE_MAX_CONTENT_BYTES',
    'bytes',
    'Largest content of one item, serialised.',
    integer(1, MAX_CONTENT_BYTES).default(16 * MIB),
  ),
  chunkMaxItems: option(
    'TIERLINE_CHUNK_MAX_ITEMS',
    'items',
    'Most items of one queue job.',
    integer(1, MAX_CHUNK_ITEMS).default(500),
  ),
  chunkMaxBytes: option(
    'TIERLINE_CHUNK_MAX_BYTES',
    'bytes',
    'Most content bytes of one queue job (a larger single item is a job of its own).',
    integer(1).default(256 * KIB),
  ),
  chunkWaitMs: option(
    'TIERLINE_CHUNK_WAIT_MS',
    'ms',
    'How long a submit waits for others to share its job while another job is on its way to Redis.',
    integer(0, 1000).default(2),
  ),
  enqueueTimeoutMs: option(
    'TIERLINE_ENQUEUE_TIMEOUT_MS',
    'ms',
    'How long a submit may wait for Redis before `QueueUnavailableError`; opening a service waits as long, workers at least 5 s. Range deletes wait a few seconds longer for a producer that died in between.',
    integer(50, 30_000).default(1500),
  ),
  enqueueReplicas: option(
    'TIERLINE_ENQUEUE_REPLICAS',
    'replicas',
    "Replicas of the queue's Redis that must have a write before its submit resolves; a failover to one of them then loses none. 0: none is waited for.",
    integer(0, 100).default(0),
  ),
  maxWaitingItems: option(
    'TIERLINE_MAX_WAITING_ITEMS',
    'items',
    'Unsettled items at which the queue is full: `pressure()` reads 1, and submits are refused.',
    integer(1).default(1_000_000),
  ),
  maxWaitingBytes: option(
    'TIERLINE_MAX_WAITING_BYTES',
    'bytes',
    'Unsettled bytes (content, ids and what is noted of them) at which the queue is full.',
    integer(1).default(1024 * MIB),
  ),
  maxMemoryShare: option(
    'TIERLINE_MAX_MEMORY_SHARE',
    'share',
    "Used share of the queue's Redis's `maxmemory`, if it has one, at which the queue is full.",
    numeric(z.coerce.number().min(0.01).max(1)).default(0.75),
  ),
  admission: option(
    'TIERLINE_ADMISSION',
    '0 or 1',
    'Whether submits are delayed when the queue fills up and refused when it is full (`BackpressureError`). 0: it is only reported.',
    flag.default(true),
  ),
  drainConcurrency: option(
    'TIERLINE_DRAIN_CONCURRENCY',
    'chunks',
    'Chunks a worker process holds at once: those of two batches of 500-item chunks, and four that are ready for the next.',
    integer(1, 64).default(12),
  ),
  drainMaxBytes: option(
    'TIERLINE_DRAIN_MAX_BYTES',
    'bytes',
    'Bytes of chunks that a worker process writes at a time, and as many again of those that wait for a range delete; a single chunk may be larger.',
    integer(1).default(16 * MIB),
  ),
  drainPartitions: option(
    'TIERLINE_DRAIN_PARTITIONS',
    'partitions',
    'Partitions that a worker process drains, such as `0-3,7`. Left out: all.',
    partitionList.optional(),
  ),
  chunkLockMs: option(
    'TIERLINE_CHUNK_LOCK_MS',
    'ms',
    "How long a chunk stays with a worker that no longer answers; a killed worker's chunks come back after at most twice that. Longer than the event loop is ever blocked.",
    milliseconds(1000).default(30_000),
  ),
  batchMaxItems: option(
    'TIERLINE_BATCH_MAX_ITEMS',
    'items',
    'Items at which a batch is written without waiting.',
    integer(1, 20_000).default(2000),
  ),
  batchMaxBytes: option(
    'TIERLINE_BATCH_MAX_BYTES',
    'bytes',
    'Content bytes at which a batch is written without waiting.',
    integer(1).default(4 * MIB),
  ),
  batchWaitMs: option(
    'TIERLINE_BATCH_WAIT_MS',
    'ms',
    'How long a batch waits for more chunks while another one is being written.',
    integer(0, 1000).default(2),
  ),
  poolSize: option(
    'TIERLINE_POOL_SIZE',
    'connections',
    'Postgres connections of one process, to each shard.',
    integer(1, 100).default(4),
  ),
  feedMaxEntries: option(
    'TIERLINE_FEED_MAX_ENTRIES',
    'batches',
    'Batches the change feeds of all partitions keep together (about 40 KB for 1,000 items).',
    integer(10).default(1000),
  ),
  cacheNeverOlder: option(
    'TIERLINE_CACHE_NEVER_OLDER',
    '0 or 1',
    "Set it when the cache's Redis never comes back older than what it acknowledged (`appendfsync always`, no failover to a replica): its copies then stay in use over its restarts.",
    flag.default(false),
  ),
  tombstoneTtlMs: option(
    'TIERLINE_TOMBSTONE_TTL_MS',
    'ms',
    'Life of a delete marker in L2; longer than any older copy may be on its way (1 s).',
    integer(2000).default(HOUR),
  ),
  backfillTtlMs: option(
    'TIERLINE_BACKFILL_TTL_MS',
    'ms',
    'Life of an L2 copy that a read filled in from L3.',
    integer(2000).default(24 * HOUR),
  ),
  purgeAfterMs: option(
    'TIERLINE_PURGE_AFTER_MS',
    'ms',
    'Age at which tombstones leave L3; longer than any retry or replay.',
    integer(MINUTE).default(28 * 24 * HOUR),
  ),
  ...PEER_OPTIONS,
  foldEveryMs: option(
    'TIERLINE_FOLD_EVERY_MS',
    'ms',
    'How often maintenance folds Merkle deltas.',
    integer(100).default(1000),
  ),
  copySweepMs: option(
    'TIERLINE_COPY_SWEEP_MS',
    'ms',
    'Time in which maintenance compares every L2 copy with its row once.',
    integer(1000).default(HOUR),
  ),
  copySweepPercent: option(
    'TIERLINE_COPY_SWEEP_PERCENT',
    'percent',
    'Most of its time that maintenance spends on that; when it is not enough, a turn takes longer.',
    integer(1, 50).default(10),
  ),
  readChunkItems: option(
    'TIERLINE_READ_CHUNK_ITEMS',
    'ids',
    'Ids of one request to Redis; one SQL read takes half as many.',
    integer(1, 10_000).default(500),
  ),
  readConcurrency: option(
    'TIERLINE_READ_CONCURRENCY',
    'chunks',
    'Chunks read at once from each tier.',
    integer(1, 64).default(4),
  ),
  l1MaxBytes: option(
    'TIERLINE_L1_MAX_BYTES',
    'bytes',
    'Most memory L1 may take, by serialised sizes and an overhead an entry; 0 keeps nothing.',
    integer(0).default(256 * MIB),
  ),
  l1TtlMs: option(
    'TIERLINE_L1_TTL_MS',
    'ms',
    'Life of an L1 entry, plus up to a tenth. Only a backstop: the change feed keeps L1 current.',
    integer(1).default(MINUTE),
  ),
  l2TimeoutMs: option(
    'TIERLINE_L2_TIMEOUT_MS',
    'ms',
    'How long a read waits for Redis before it goes on to Postgres.',
    milliseconds(10).default(500),
  ),
  l3TimeoutMs: option(
    'TIERLINE_L3_TIMEOUT_MS',
    'ms',
    'How long a read by id waits for Postgres before `TierUnavailableError`.',
    milliseconds(100).default(10_000),
  ),
  filterMaxBytes: option(
    'TIERLINE_FILTER_MAX_BYTES',
    'bytes',
    'Most memory the membership filter may take (2.1 to 4.2 bytes an id); above it, and with 0, absence costs SQL.',
    integer(0).default(512 * MIB),
  ),
  filterSnapshotEveryMs: option(
    'TIERLINE_FILTER_SNAPSHOT_EVERY_MS',
    'ms',
    'How often maintenance stores the membership filter for readers that start.',
    integer(100).default(5 * MINUTE),
  ),
  dashboardHost: option(
    'TIERLINE_DASHBOARD_HOST',
    'address',
    'Address the dashboard listens on; `0.0.0.0` or `::` for every interface.',
    text.default('127.0.0.1'),
  ),
  dashboardPort: option(
    'TIERLINE_DASHBOARD_PORT',
    'port',
    'Port the dashboard listens on; 0 takes a free one.',
    integer(0, 65_535).default(3000),
  ),
  dashboardPasswordHash: option(
    'TIERLINE_DASHBOARD_PASSWORD_HASH',
    'hash',
    'Hash of the password that signs in to the dashboard, as `tierline dashboard --hash-password` prints it.',
    passwordHash.optional(),
  ),
  dashboardToken: option(
    'TIERLINE_DASHBOARD_TOKEN',
    'text',
    'Bearer token for programs that read the dashboard; 32 characters or more.',
    bearerToken(32).optional(),
  ),
  dashboardPayloads: option(
    'TIERLINE_DASHBOARD_PAYLOADS',
    '0 or 1',
    'Whether Bull Board and the item page show what users stored.',
    flag.default(false),
  ),
  dashboardReadOnly: option(
    'TIERLINE_DASHBOARD_READ_ONLY',
    '0 or 1',
    'Whether the dashboard refuses everything that changes something.',
    flag.default(false),
  ),
  dashboardHttps: option(
    'TIERLINE_DASHBOARD_HTTPS',
    '0 or 1',
    'Set it when browsers reach the dashboard by https: its cookie is then `Secure`, and HSTS is sent.',
    flag.default(false),
  ),
  dashboardSessionMs: option(
    'TIERLINE_DASHBOARD_SESSION_MS',
    'ms',
    'How long one sign-in lasts.',
    integer(MINUTE).default(12 * HOUR),
  ),
  gatewayHost: option(
    'TIERLINE_GATEWAY_HOST',
    'address',
    'Address the gateway listens on; `0.0.0.0` or `::` for every interface.',
    text.default('127.0.0.1'),
  ),
  gatewayPort: option(
    'TIERLINE_GATEWAY_PORT',
    'port',
    'Port the gateway listens on; 0 takes a free one.',
    integer(0, 65_535).default(8080),
  ),
  gatewayTokens: option(
    'TIERLINE_GATEWAY_TOKENS',
    'list',
    'Tokens that the gateway knows, as `tierline gateway token` prints them: `name:scopes:hash` or `name:scopes:hash:prefix`, with commas between them ([docs/gateway.md](docs/gateway.md)).',
    gatewayTokenList.default([]),
  ),
  gatewayRequestsPerSecond: option(
    'TIERLINE_GATEWAY_REQUESTS_PER_SECOND',
    'requests',
    'Requests that a gateway process answers one token in a second.',
    integer(1).default(20_000),
  ),
  gatewayBodyTimeoutMs: option(
    'TIERLINE_GATEWAY_BODY_TIMEOUT_MS',
    'ms',
    'How long the gateway waits for the headers and for the body of a request, and for each line of a batch.',
    milliseconds(100).default(30_000),
  ),
  shutdownMs: option(
    'TIERLINE_SHUTDOWN_MS',
    'ms',
    'How long a stop may take before connections are cut.',
    milliseconds(100).default(10_000),
  ),
  metricsPort: option(
    'TIERLINE_METRICS_PORT',
    'port',
    'Port of `/healthz`, `/readyz` and `/metrics` in worker processes; 0 takes any free one. Left out: no server.',
    integer(0, 65_535).optional(),
  ),
  metricsHost: option(
    'TIERLINE_METRICS_HOST',
    'address',
    'Address that server listens on. Beyond loopback it needs `TIERLINE_METRICS_TOKEN`.',
    text.default('127.0.0.1'),
  ),
  metricsToken: option(
    'TIERLINE_METRICS_TOKEN',
    'text',
    'Bearer token that `/metrics` asks for, 16 characters or more. `/healthz` and `/readyz` stay open.',
    bearerToken(16).optional(),
  ),
  readyLagMs: option(
    'TIERLINE_READY_LAG_MS',
    'ms',
    'Age of the oldest unsettled write from which `/readyz` says not ready.',
    integer(100).default(MINUTE),
  ),
} as const;
