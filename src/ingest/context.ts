import type { Database } from "../store/connection.ts"

/** What the work of every way in needs. It knows no request and has no clock of its own. */
export interface IngestContext {
  db: Database
  /** Where a batch waits for the database; undefined where none is bound, and everything is stored at once. */
  queue: Queue | undefined
  /** Holds what is too large for a message of the queue. */
  bucket: R2Bucket | undefined
  /** Of the request, for the messages that it causes. */
  traceparent?: string | undefined
  now: Date
}
