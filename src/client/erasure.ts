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
