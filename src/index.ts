export type { OpenOptions, Options } from './config.ts';
export {
  AccessDeniedError,
  AtomicRefusedError,
  BackpressureError,
  BodyTimeoutError,
  BodyTooLargeError,
  ChangesGoneError,
  ClosedError,
  ConfigError,
  CorruptItemError,
  InvalidItemError,
  JobRefusedError,
  MerkleKeyError,
  PartitionsError,
  PeerRefusedError,
  PeerUnavailableError,
  QueueLostError,
  QueueUnavailableError,
  SchemaMissingError,
  SettleTimeoutError,
  TierUnavailableError,
  TierlineError,
  TooManyRequestsError,
  UnsafeServerError,
  type ReachedLimit,
} from './errors.ts';
export { openPeer, type PeerOptions, type RemotePeer } from './peers/http-peer.ts';
export { openLocalPeer, type OwnPeer } from './peers/local-peer.ts';
export { repair } from './merkle/repair.ts';
export { openProducer } from './producer/open-producer.ts';
export { openReader } from './read/open-reader.ts';
export { openStore } from './store/open-store.ts';
export { startDrain, type DrainWorker } from './drain/start-drain.ts';
export type * from './types/call.ts';
export type * from './types/health.ts';
export type * from './types/merkle.ts';
export type * from './types/read.ts';
export type * from './types/write.ts';
