/** A signal to be stored, under the names of the wire. Null is as good as absent. */
export interface NewSignal {
  /** The conversation: 1-255 characters, not blank. */
  context_window_id: string
  /** ISO 8601 (no offset means UTC), or a Unix epoch in seconds, above 2e10 in milliseconds. Default: now. */
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
  agent_id?: string | null
  user_id?: string | null
  /** Any JSON object up to 64 levels deep; a bigint is sent as the number that it is. */
  payload?: Record<string, unknown> | null
  relationship_context?: string | null
  diagnostic_notes?: string | null
  /** At most one stored signal ever carries it: sending it again gives the first one's id. */
  dedupe_key?: string | null
}

/** A signal that was not stored: its place in the batch, and the rule it breaks as one sentence. */
export interface Failure {
  index: number
  error: string
}

/** One signal's fate. */
export interface SignalResult {
  index: number
  success: boolean
  signal_id: number | null
  error: string | null
  /** The id is that of an earlier signal with the same dedupe_key. */
  duplicate?: true | undefined
}

export interface BatchAnswer {
  total_count: number
  successful_count: number
  failed_count: number
  /** One a signal, in order; with `minimal` the failures alone. */
  results: SignalResult[]
  /** Names the batch in the ledger; null when nothing was written. */
  transaction_id: string | null
  /** Names of unknown fields met; they were not stored. */
  ignored_fields?: string[] | undefined
}

/** A signal as it is stored. `time` is UTC with microseconds. */
export interface StoredSignal {
  id: number
  time: string
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
}

export interface ConversationStats {
  context_window_id: string
  signal_count: number
  avg_score: number
  latest_signal: string
}

/** What the ledger says of a batch. */
export interface BatchRecord {
  transaction_id: string
  state: "queued" | "stored" | "failed"
  created_at: string
  caller: string
  idempotency_key: string | null
  total_count: number
  successful_count: number
  failed_count: number
  failures: Failure[]
  /** Why a failed batch failed as a whole. */
  reason?: string | undefined
}

/** One fault of a request's shape, as Pydantic v2 and FastAPI tell it. */
export interface ShapeError {
  type: string
  loc: (string | number)[]
  msg: string
  input?: unknown
}
