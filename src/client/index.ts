export { type BatchOptions, type SendOptions, SignalClient } from "./client.ts"
export type { Erasure, NewErasure } from "./erasure.ts"
export {
  AbortedError,
  BatchRejectedError,
  DeadlineError,
  RateLimitedError,
  RequestError,
  SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "./errors.ts"
export type { FeedOptions } from "./feed.ts"
export type { DeadLetterFilter, ListFilter, ReplayChoice } from "./filters.ts"
export type { CallOptions } from "./http/request.ts"
export type { ClientOptions } from "./http/transport.ts"
export { BatchProcessor } from "./processor.ts"
export type { ProcessorOptions, Undelivered, Unstored } from "./processor-options.ts"
export type { Spool, SpooledBatch } from "./spool/types.ts"
export type * from "./types.ts"
