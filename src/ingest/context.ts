import { type Counts, NO_COUNTS, NO_SCORES, type ScoreCounts } from "../signals/answer.ts"
import type { Database } from "../store/database/connection.ts"

/** The context of the work of every entry point. It does not depend on HTTP and has no clock of its own. */
export interface IngestContext {
  db: Database
  /** The queue; undefined when none is bound, and everything is stored at once. */
  queue: Queue | undefined
  /** The bucket of claim checks: content that is too large for a message of the queue. */
  bucket: R2Bucket | undefined
  /** The trace of the request, for the messages that it causes. */
  traceparent?: string | undefined
  now: Date
}

/** The counts of a run: new signals, duplicates and failures. */
export interface Added {
  stored: number
  duplicates: number
  failed: number
  /** Stored signals by source. */
  sources: Counts
  /** Failed signals by code. */
  codes: Counts
  /** Scores, which are no signals: the other counts do not have them. */
  scores: ScoreCounts
}

export type Count = (added: Added) => void

export const NOTHING_ADDED: Added = {
  stored: 0,
  duplicates: 0,
  failed: 0,
  sources: NO_COUNTS,
  codes: NO_COUNTS,
  scores: NO_SCORES,
}
