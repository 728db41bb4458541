/**
 * What the service promised, kept by the senders and compared with the tables when a run has ended. It knows
 * the contract only: nothing is imported from the service.
 */

/**
 * The promise for one signal:
 * - `stored`: the answer said so, so it is in the table once
 * - `duplicate`: another signal with its dedupe key is stored
 * - `refused`: an answer said that nothing of it was stored, and that stays true
 * - `accepted`: acknowledged before it was stored; it is stored, or a dead letter, when the queue is empty
 * - `doubt`: no answer said whether it was stored
 */
export type Promised = "stored" | "duplicate" | "refused" | "accepted" | "doubt"

export interface SentSignal {
  /** Unique in a run; the signal's `raw_content`. */
  token: string
  conversation: string
  user: string
  dedupeKey?: string
  /** Whether it keeps every rule, so that only the database or an erasure can refuse it. */
  isGood: boolean
  /** Positions in the order of all events of the run. */
  beganAt: number
  answeredAt: number
  promised: Promised
  id?: number
  /** Signals of one transaction: all of its unrefused signals are stored, or none. */
  batch: string
  /** The way in, for the report of a difference. */
  way?: string
  /** The batch of the ledger that an answer named. */
  transactionId?: string
  /**
   * Whether the ledger may say later that the whole batch failed: it is all or nothing, or another request
   * had its key.
   */
  mayFailWhole?: boolean
}

export interface SentErasure {
  kind: "user_id" | "context_window_id" | "signal_ids"
  subject: string
  ids: readonly number[]
  suppress: boolean
  beganAt: number
  /** Undefined while no answer said 202, so that it may or may not exist. */
  answeredAt: number | undefined
}

/** A ledger row that an answer promised. */
export interface PromisedBatch {
  transactionId: string
  successful: number
  failed: number
}

/** A message of Slack: the events that the service acknowledged. */
export interface SlackMessage {
  channel: string
  ts: string
  /** The text of the newest acknowledged version, by the time of the edit. */
  newest: { at: number; text: string } | undefined
  isDeleted: boolean
  /** An event that was never acknowledged leaves the end open. */
  isOpen: boolean
}

export class Model {
  readonly signals: SentSignal[] = []
  readonly erasures: SentErasure[] = []
  /** As answers named them. */
  readonly erasureIds: string[] = []
  readonly batches: PromisedBatch[] = []
  /** Transaction ids of requests without a definite answer, and their tokens. */
  readonly doubts: { transactionId: string; tokens: readonly string[] }[] = []
  readonly slack: SlackMessage[] = []
  /** Ids in the order in which a reader got them from the feed. */
  readonly fed: number[] = []
  /** Differences that a sender saw at once. */
  readonly seen: string[] = []
  requests = 0
  readonly statuses = new Map<string, number>()
  #now = 0

  /** The next position in the order of all events. */
  tick(): number {
    return ++this.#now
  }

  count(way: string, status: number | string): void {
    this.requests++
    const key = `${way} ${status}`
    this.statuses.set(key, (this.statuses.get(key) ?? 0) + 1)
  }
}

/** Whether an erasure covers a signal: `must` it be gone, `may` it be gone, or must it stay? */
export function erased(signal: SentSignal, erasures: readonly SentErasure[]): "must" | "may" | "no" {
  let outcome: "must" | "may" | "no" = "no"
  for (const erasure of erasures) {
    if (!isSubject(signal, erasure)) continue
    const isBefore = signal.answeredAt < erasure.beganAt
    const isAfter = erasure.answeredAt !== undefined && signal.beganAt > erasure.answeredAt
    if (erasure.answeredAt === undefined) outcome = outcome === "no" ? "may" : outcome
    else if (isBefore) outcome = "must"
    else if (!isAfter || erasure.suppress) outcome = outcome === "no" ? "may" : outcome
  }
  return outcome
}

function isSubject(signal: SentSignal, { kind, subject, ids }: SentErasure): boolean {
  if (kind === "user_id") return signal.user === subject
  if (kind === "context_window_id") return signal.conversation === subject
  return signal.id !== undefined && ids.includes(signal.id)
}

/**
 * Whether a signal that was sent after an erasure's answer, about a subject that must not come back, is
 * refused.
 */
export const isSuppressedAfter = (signal: SentSignal, erasures: readonly SentErasure[]) =>
  erasures.some(
    (erasure) =>
      erasure.suppress &&
      erasure.kind !== "signal_ids" &&
      isSubject(signal, erasure) &&
      erasure.answeredAt !== undefined &&
      signal.beganAt > erasure.answeredAt,
  )
