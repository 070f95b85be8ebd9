import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { RepairPeer } from '../types/merkle.ts';
import type { Store } from '../types/read.ts';
import type { ChangeFeeds } from './change-feeds.ts';

/** What the routes are made from. */
export interface GatewayParts {
  readonly config: Config;
  readonly log: Logger;
  readonly store: Store;
  readonly feeds: ChangeFeeds;
  /** This deployment as other deployments see it; opened when the first of them asks. @throws as `openLocalPeer` */
  readonly peer: () => Promise<RepairPeer>;
  /** Aborted when the gateway begins to stop: waits and streams end. */
  readonly stopping: AbortSignal;
}

/** The server, whose routes get their types from zod schemas. */
export type GatewayApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;
