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
