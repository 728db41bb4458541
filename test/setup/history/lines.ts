/**
 * The lines of a history: what clients sent, what they were answered, and what the tables had at the end. One
 * JSON object a line. Every time is in milliseconds of one monotonic clock.
 */

/** What a request does, as far as a rule speaks of it. */
export type Operation =
  | "batch"
  | "single"
  | "kafka"
  /** Stores or changes signals that the history does not know one by one. */
  | "slack"
  | "replay"
  | "scores"
  | "erasure"
  | "read"
  | "list"
  | "ledger"
  | "erasure state"
  | "feed"
  | "stats"
  | "metrics"

export interface SentSignal {
  /** A hash of conversation, text and user, by which a stored row is found again. */
  hash: string
  conversation: string
  user?: string
  dedupeKey?: string
  /** It may be refused alone: by a rule, or by the database. */
  mayFail?: true
}

export interface Subject {
  kind: "user_id" | "context_window_id" | "agent_id" | "signal_ids"
  value?: string
  ids?: readonly number[]
  suppress?: true
}

/** A request as it leaves its client. */
export interface Invoke {
  type: "invoke"
  /** Joins it with its answer. */
  n: number
  at: number
  client: string
  operation: Operation
  /** The Idempotency-Key. */
  key?: string
  /** Of the body. */
  hash?: string
  signals?: readonly SentSignal[]
  /** One failure fails the batch. */
  allOrNothing?: true
  subject?: Subject
  /** What is asked for: an id, a transaction, a conversation, the cursor of the feed. */
  of?: string
  /** No request and no work was under way. */
  isQuiet?: true
}

/** The outcome of one signal, and the id of its row. */
export type Result = ["stored" | "duplicate", id: number] | ["failed"]

/** An answer as its client has read it to the end. */
export interface Answer {
  type: "answer"
  n: number
  at: number
  /** 0: there was none, or a part of one. */
  status: number
  transaction?: string
  results?: readonly Result[]
  /** How many signals a batch has stored, and how many failed. */
  counts?: readonly [successful: number, failed: number]
  state?: string
  /** Signals that a read returned. */
  seen?: readonly { id: number; hash: string; change?: string }[]
  /** The list or the feed has ended here. */
  isEnd?: true
  stats?: readonly (readonly [conversation: string, count: number])[]
  /** Signals that the metrics count as stored, duplicates included. */
  counted?: number
}

/** A row of `signals`. */
export interface Row {
  type: "row"
  id: number
  hash: string
  conversation: string
  user?: string
  dedupeKey?: string
  transaction: string
}

/** A row of `batches`. */
export interface LedgerRow {
  type: "entered"
  transaction: string
  state: string
  successful: number
  failed: number
  kind?: string
  key?: string
}

/** A row of `dead_letters`. */
export interface DeadLetter {
  type: "dead letter"
  transaction: string
  /** Of each signal that its record may have. */
  hashes: readonly string[]
}

/** An erasure in its table. */
interface ErasureRow {
  type: "erased"
  id: string
  state: string
}

/** A call that a receiver of a subscription got. */
export interface Call {
  type: "call"
  at: number
  until: number
  subscription: string
  webhookId: string
  hash: string
  ids: readonly number[]
  isAccepted: boolean
}

/** What a subscription asked for: the signals that its filter takes, or all. */
export interface Subscribed {
  type: "subscribed"
  subscription: string
  /** Only signals with these texts' hashes; absent: every signal. */
  hashes?: readonly string[]
}

/** The last line: the tables were read to their end, while nothing was under way. */
export interface End {
  type: "end"
  rows: number
  entered: number
}

export type Line = Invoke | Answer | Row | LedgerRow | DeadLetter | ErasureRow | Call | Subscribed | End
