export type { AnswerContext } from "./api/errors.ts"
export {
  AbortedError,
  BatchRejectedError,
  DeadlineError,
  InvalidSignalError,
  RateLimitedError,
  RequestError,
  SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "./api/errors.ts"
export type {
  ApiKeyDay,
  ApiKeyLimits,
  ApiKeyRecord,
  AuditPage,
  AuditQuery,
  DeadLetterFilter,
  Erasure,
  LedgerMismatch,
  ListFilter,
  MadeApiKey,
  NewApiKey,
  NewErasure,
  ReplayChoice,
  Scope,
} from "./api/queries.ts"
export type * from "./api/types.ts"
export type { BatchRetry, ProcessorOptions, Undelivered, Unstored } from "./batching/options.ts"
export { SignalClient } from "./client.ts"
export type { FeedOptions } from "./feed.ts"
export type { BatchOptions, CallOptions, SendOptions } from "./http/request.ts"
export type { ClientOptions } from "./http/transport.ts"
export type { KeyRotation, KeysClient } from "./keys.ts"
export { BatchProcessor } from "./processor.ts"
export type { Spool, SpooledBatch } from "./spool/types.ts"
export type {
  DeliveryAttempt,
  NewSubscription,
  Subscription,
  SubscriptionChange,
  SubscriptionFilter,
  SubscriptionFormat,
  SubscriptionOptions,
  SubscriptionsClient,
} from "./subscriptions.ts"
