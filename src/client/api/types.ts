/** A signal to store, with the API's field names. Null means absent. */
export interface NewSignal {
  /** The conversation: 1-255 characters, not blank. */
  context_window_id: string
  /**
   * ISO 8601 (no offset means UTC), or a Unix epoch in seconds, above 2e10 in milliseconds; at most a day
   * ahead of the service's clock. Default: now.
   */
  timestamp?: string | number | null
  raw_content?: string | null
  /** Default: unknown. */
  signal_source?: string | null
  /** From 0 to 1. Default: 0.5. */
  signal_score?: number | null
  signal_vector?: string | null
  /** From 0 to 1. */
  emotional_tone?: number | null
  /** 0 or 1. Default: 0. */
  escalate_flag?: number | null
  /** At most 1,024 characters, as `user_id`. */
  agent_id?: string | null
  user_id?: string | null
  /** Any JSON object up to 64 levels deep; a bigint becomes a JSON number with all its digits. */
  payload?: Record<string, unknown> | null
  relationship_context?: string | null
  diagnostic_notes?: string | null
  /**
   * 1-255 characters. At most one stored signal ever has it; sending it again succeeds with the id of the
   * first.
   */
  dedupe_key?: string | null
}

/**
 * A signal that was not stored: its index in the batch, and the rule it breaks as one sentence and as a code.
 */
export interface Failure {
  index: number
  error: string
  code: FailureCode
  /** The field that it is about, where it is one. */
  field?: string | undefined
  /** The same signal may be stored when it is sent again later. */
  retryable: boolean
}

/** The outcome of one signal. */
export interface SignalResult {
  index: number
  success: boolean
  signal_id: number | null
  error: string | null
  /** Set, as `retryable` is, when `success` is false. */
  code?: FailureCode | undefined
  /** The field that the error is about, where it is one. */
  field?: string | undefined
  retryable?: boolean | undefined
  /** Set when `signal_id` is that of an earlier signal with the same dedupe_key. */
  duplicate?: true | undefined
  /** Of a score: it is kept until the signal with its dedupe_key is stored, for 7 days at most. */
  waiting?: true | undefined
}

export interface BatchAnswer {
  total_count: number
  successful_count: number
  failed_count: number
  /** One for each signal, in order; with `minimal`, only the failures. */
  results: SignalResult[]
  /** Names the batch in the ledger; null when nothing was written. */
  transaction_id: string | null
  /** Names of unknown fields, which the service does not store. */
  ignored_fields?: string[] | undefined
}

/** The answer to a batch of scores. */
export interface ScoresAnswer extends BatchAnswer {
  /** Scores among the successful that are kept until their signals come. */
  waiting_count: number
}

/** A stored signal. Times are UTC with microseconds. */
export interface StoredSignal {
  id: number
  /** When it happened: the `timestamp` that was sent. */
  time: string
  /** When the service stored it. */
  received_at: string
  /** When its source last changed it, such as an edit in Slack; null when it was never changed. */
  edited_at: string | null
  transaction_id: string
  context_window_id: string
  raw_content: string | null
  signal_source: string
  signal_score: number
  signal_vector: string | null
  emotional_tone: number | null
  escalate_flag: number
  agent_id: string | null
  user_id: string | null
  payload: unknown
  relationship_context: string | null
  diagnostic_notes: string | null
  dedupe_key: string | null
  /** Set in a list when `payload` is not null and larger than 8 MB as text; `signal(id)` reads it. */
  payload_omitted?: true | undefined
}

/** A score that came after its signal. A value that is null left that of the signal as it was. */
export interface StoredScore {
  signal_score: number | null
  emotional_tone: number | null
  escalate_flag: number | null
  scored_at: string
  scorer: string | null
  received_at: string
  /** Names the batch of scores in the ledger. */
  transaction_id: string
}

/** A signal that was read by its id. */
export interface SignalWithScores extends StoredSignal {
  /** The scores that came after the signal, newest first. */
  scores: StoredScore[]
}

/** A page of the list of signals. */
export interface SignalPage {
  /**
   * Newest first. A page that is not the last may hold few or none, where a filter leaves few of many
   * signals.
   */
  signals: StoredSignal[]
  /** Where to read on; null on the last page. */
  next_cursor: string | null
}

/** A score of a stored signal, with at least one value. Null means absent: the signal's value stays. */
export interface NewScore {
  /** The id of the signal, or else its `dedupe_key`. */
  signal_id?: number | null
  dedupe_key?: string | null
  /** From 0 to 1. */
  signal_score?: number | null
  /** From 0 to 1. */
  emotional_tone?: number | null
  /** 0 or 1. */
  escalate_flag?: number | null
  /**
   * When the signal was scored, as a `timestamp`. The newest score counts, whatever the order of arrival.
   * Default: now.
   */
  scored_at?: string | number | null
  /** Who scored it: 1-255 characters. */
  scorer?: string | null
}

/** A signal in the feed. */
export interface FeedSignal extends StoredSignal {
  /** Set where the signal comes once more, since a score was stored for it. */
  change?: "score" | undefined
}

/** One page of the feed. */
export interface FeedPage {
  /** In commit order. */
  signals: FeedSignal[]
  /** The cursor of the next page. */
  next_cursor: string
  /** The next page can be read at once. */
  more: boolean
  /** How long the oldest stored batch has waited for a transaction that is still open; 0 when none waits. */
  lag_seconds: number
}

export interface ConversationStats {
  context_window_id: string
  signal_count: number
  avg_score: number
  latest_signal: string
}

/** The ledger's record of a batch. */
export interface BatchRecord {
  transaction_id: string
  /** Set where the batch has scores. */
  kind?: "scores" | undefined
  state: "queued" | "stored" | "failed"
  created_at: string
  caller: string
  idempotency_key: string | null
  total_count: number
  successful_count: number
  failed_count: number
  /** Of scores: how many of the successful waited for their signals then. */
  waiting_count?: number | undefined
  failures: Failure[]
  /** Why a failed batch failed as a whole. */
  reason?: string | undefined
}

/** An error of a request's shape, in the form of Pydantic v2 and FastAPI. */
export interface ShapeError {
  type: string
  loc: (string | number)[]
  msg: string
  input?: unknown
}

export type DeadLetterState = "waiting" | "replayed" | "discarded"

/** An acknowledged record that could not become a signal, without the record itself. */
export interface ListedDeadLetter {
  id: number
  created_at: string
  state: DeadLetterState
  /** How a replay reads the record. */
  source: "slack" | "kafka" | "signal" | "queue" | "score"
  /** Name of the key that sent the record. */
  caller: string
  /** Why the record could not be stored, as one sentence. */
  reason: string
  code: FailureCode
  /** The field that it is about, where it is one. */
  field?: string | undefined
  /** The same record may be stored when it is sent again later. */
  retryable: boolean
  transaction_id: string
  /** Index in the delivery. */
  index: number
  /** Only the first MiB of the record is kept, so that it cannot be replayed. */
  truncated: boolean
  /** Names the batch of the replay: the same one however often the dead letter is replayed. */
  replay_transaction_id: string
}

/** A dead letter with its record. */
export interface DeadLetter extends ListedDeadLetter {
  /** JSON of the delivered record; only its beginning when it is truncated. */
  record: string
}

/** The outcome of a replay. */
export interface ReplayAnswer {
  /** False when the record still cannot become a signal; the dead letter stays. */
  replayed: boolean
  reason?: string | undefined
  transaction_id?: string | undefined
}

/** The outcome of one call that replays many dead letters. */
export interface BulkReplayAnswer {
  replayed_count: number
  /** Dead letters whose records still cannot become signals; they stay. */
  failed_count: number
  failures: { id: number; reason: string }[]
  /** Pass it as `cursor` to the next call; null when no dead letter is left. */
  next_cursor: string | null
}

/** The reason why a signal was not stored. A newer service may have more codes. */
export type FailureCode =
  | "missing_field"
  | "wrong_type"
  | "invalid_timestamp"
  | "invalid_json"
  | "out_of_range"
  | "wrong_length"
  | "blank"
  | "invalid_text"
  | "too_deep"
  | "number_too_long"
  | "too_large"
  | "too_far_ahead"
  | "reserved_dedupe_key"
  | "edits_not_followed"
  | "unreadable_record"
  | "refused_by_database"
  | "suppressed"
  | "unknown_signal"
  | "deleted_signal"
  | "too_many_waiting"
  | "two_signals"
  | "too_many_scores"
  | "unprocessed_message"
  | "unreadable_message"

/** The reason why a request failed. A newer service may have more codes. */
export type ProblemCode =
  | "batch_rejected"
  | "body_cut_off"
  | "bad_request"
  | "unauthorized"
  | "insufficient_scope"
  | "cross_site"
  | "not_found"
  | "method_not_allowed"
  | "body_timeout"
  | "too_many_signals"
  | "too_many_containers"
  | "body_too_large"
  | "unsupported_media_type"
  | "unsupported_encoding"
  | "invalid_request"
  | "idempotency_key_reused"
  | "key_conflict"
  | "key_in_doubt"
  | "key_not_checked"
  | "read_too_costly"
  | "result_too_large"
  | "payload_too_large"
  | "rate_limited"
  | "internal_error"
  | "invariant_violated"
  | "overloaded"
  | "database_unavailable"
  | "database_not_ready"
  | "in_doubt"
  | "not_configured"
  | "metrics_unavailable"
