import type { DeadLetter, DeadLetterState } from "./types.ts"

/** Times are as in `NewSignal`. */
export interface ListFilter {
  context_window_id?: string | undefined
  signal_source?: string | undefined
  user_id?: string | undefined
  agent_id?: string | undefined
  escalate_flag?: 0 | 1 | undefined
  /** Inclusive, as `max_score`. */
  min_score?: number | undefined
  max_score?: number | undefined
  /** Inclusive. */
  since?: string | undefined
  /** Exclusive. */
  until?: string | undefined
  /** Text within `raw_content`, whatever the case of its letters: 1 to 200 characters. */
  q?: string | undefined
  /**
   * Values of the payload by their paths, such as `{ "order.id": 1 }`: at most 5. A number, a boolean and
   * null also match the text of their JSON. A backslash in a path makes the dot, the equals sign or the
   * backslash behind it a part of the key.
   */
  payload?: Readonly<Record<string, string | number | bigint | boolean | null>> | undefined
  /** Where to begin: `next_cursor` of a page. Default: the newest signal. */
  cursor?: string | null | undefined
  /**
   * Signals a request, 1 to 1,000. Default: 1,000. It does not limit how many signals the iterator yields.
   */
  pageSize?: number | undefined
}

export interface DeadLetterFilter {
  /** Default: waiting. */
  state?: DeadLetterState | undefined
  /** Dead letters a request, 1 to 1,000. Default: 200. It does not limit how many the iterator yields. */
  pageSize?: number | undefined
}

/** Which dead letters a call of `replayDeadLetters` replays. */
export interface ReplayChoice {
  /** Default: waiting. A dead letter that was replayed is replayed again only by its id. */
  state?: Exclude<DeadLetterState, "replayed"> | undefined
  source?: DeadLetter["source"] | undefined
  /** 1 to 500 ids, whatever the state of their dead letters. */
  ids?: readonly number[] | undefined
  /**
   * Dead letters of this call, 1 to 500. Default: 500. The service takes fewer when their records are large.
   */
  limit?: number | undefined
  /** `next_cursor` of the call before. */
  cursor?: string | null | undefined
}
/** The subject of an erasure: exactly one of the first four fields. */
export interface NewErasure {
  user_id?: string | undefined
  agent_id?: string | undefined
  context_window_id?: string | undefined
  /** 1 to 1,000 ids. */
  signal_ids?: readonly number[] | undefined
  /** Also refuse later signals of the user, agent or conversation. Default: false. */
  suppress?: boolean | undefined
}

/** An erasure, while it runs and as proof afterwards. It does not hold the subject. */
export interface Erasure {
  id: string
  state: "running" | "done"
  created_at: string
  finished_at: string | null
  /** Name of the key that requested it. */
  requested_by: string
  kind: "user_id" | "agent_id" | "context_window_id" | "signal_ids"
  /** The first 16 bytes of the SHA-256 of kind, colon and subject, in hexadecimal digits. */
  subject_hash: string
  suppress: boolean
  /** The counts of removed records so far. */
  erased: { signals: number; dead_letters: number; ledger_texts: number; waiting_records: number }
}

/** Rows of the database that disagree. */
export interface LedgerMismatch {
  /** Such as `signal_without_batch`. */
  kind: string
  transaction_id: string | null
  signal_id: number | null
}

/** Where an audit begins, and the rows of a page: 1 to 1,000. Default: at the beginning, 1,000. */
export interface AuditQuery {
  /** `next_cursor` of a page. */
  cursor?: string | undefined
  limit?: number | undefined
}

/** One page of an audit. */
export interface AuditPage {
  part: "signals" | "batches" | "keys"
  checked: number
  /** Of `batches`: ids without a signal, which is no mismatch. */
  absent: number
  mismatch_count: number
  /** The first 100 of them. */
  mismatches: LedgerMismatch[]
  next_cursor: string | null
}

/** What an API key allows. */
export type Scope = "ingest" | "read" | "bridge" | "admin"

/** A key to make. */
export interface NewApiKey extends ApiKeyLimits {
  /** The caller: 1 to 100 letters, digits or any of `. _ @ -`. No other caller ever gets the name. */
  name: string
  /** Only scopes that the key of this client has. */
  scopes: readonly Scope[]
  /** When it ends by itself, in ISO 8601. Default: never. */
  expires_at?: string | null | undefined
}

/** A key that was made at run time, without the key itself. */
export interface ApiKeyRecord {
  id: string
  /** The caller. Keys of one name are one caller. */
  name: string
  /** The beginning of the key. */
  hint: string
  state: "active" | "expired" | "revoked"
  scopes: Scope[]
  created_at: string
  /** Name of the key that made it. */
  created_by: string
  expires_at: string | null
  revoked_at: string | null
  revoked_by: string | null
  /** The key that this one was made to replace. */
  rotated_from: string | null
  /** The last day in UTC on which it was used, such as 2025-01-15. */
  last_used_on: string | null
  /** Of the caller; null: no limit. */
  limits: { signals_per_day: number | null; bytes_per_day: number | null }
}

/** What a caller may send in a day, about. A limit that is not given is none. */
export interface ApiKeyLimits {
  signals_per_day?: number | null | undefined
  bytes_per_day?: number | null | undefined
}

/** What a caller sent on one day in UTC, by the ledger. */
export interface ApiKeyDay {
  day: string
  batches: number
  /** All that were sent, failed ones included. */
  signals: number
  failed_signals: number
}

/** A key that was just made, with the key itself. */
export interface MadeApiKey extends ApiKeyRecord {
  key: string
}

/**
 * The parameters of a list's filter.
 *
 * @throws {TypeError} a value of the payload is neither a text, a finite number, a boolean nor null
 */
export function queryOf({
  payload = {},
  pageSize = 1000,
  ...conditions
}: ListFilter): Record<string, string | number | null | undefined> {
  const values = Object.entries(payload).map(([path, value]) => {
    const isScalar = value === null || /^(string|number|bigint|boolean)$/.test(typeof value)
    if (!isScalar || (typeof value === "number" && !Number.isFinite(value)))
      throw new TypeError(`payload.${path} must be a text, a finite number, a boolean or null.`)
    return [`payload.${path}`, String(value)]
  })
  return { ...conditions, ...Object.fromEntries(values), limit: pageSize }
}
