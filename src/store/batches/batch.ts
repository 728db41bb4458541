import { LoggableError } from "../../errors.ts"
import type { ScorePlan } from "../../scores/plan.ts"
import { type StoredBatch, type StoredId, violationIn } from "../../signals/answer.ts"
import type { BatchPlan } from "../../signals/plan.ts"
import type { Failure } from "../../signals/responses.ts"
import type { DatabaseError } from "../database/errors.ts"

/** A batch of signals to store. */
export interface NewBatch<Plan = BatchPlan> {
  /** UUIDv7. Identifies the batch in the ledger, so that a repeated write stores it once. */
  transactionId: string
  /** The sender, to whom the idempotency key belongs. */
  caller: string
  plan: Plan
  /** Whether to store no signal when the database refuses one. */
  allOrNothing: boolean
  idempotency?: { key: string; requestHash: string } | undefined
}

/** A batch of scores to store. */
export interface NewScores extends NewBatch<ScorePlan> {
  kind: "scores"
}

export const isScores = (batch: NewBatch | NewScores): batch is NewScores => "kind" in batch

/** A batch in the ledger. `stored` has every signal that is in the table, including duplicates. */
export interface WrittenBatch extends StoredBatch {
  transactionId: string
  /** `failed`: it was acknowledged, but an earlier attempt recorded that no signal could be stored. */
  state: "stored" | "failed"
  /** Whether an earlier request with the same idempotency key stored it. */
  replayed: boolean
  /**
   * Whether this call entered it in the ledger. False too where the answer of an earlier attempt of this call
   * was lost.
   */
  isNew: boolean
  /** When the database stored it, as UTC text: `received_at` of its signals. */
  receivedAt: string
  /** The number of duplicates in `stored`. */
  duplicates: number
}

/** The result of an insert: the rows that the database has, and the failures of the whole batch. */
export interface Inserted {
  /** When the database stored them, as UTC text. */
  receivedAt: string
  rows: StoredId[]
  failures: Failure[]
  /** The same of the scores that came with it. */
  scores?: Inserted | undefined
}

/**
 * The result of a batch whose ledger row this write entered.
 *
 * @param ids the outcome of each row, joined by commas: its id, "=ID" for a duplicate of signal ID, "" for a
 *   refused row; null without rows
 */
export function insertedOf(
  { rows, failures }: { rows: readonly { index: number }[]; failures: Failure[] },
  receivedAt: string,
  ids: string | null,
): Inserted {
  const each = ids?.split(",") ?? []
  const inserted = rows.flatMap(({ index }, position): StoredId[] => {
    const outcome = each[position] ?? ""
    if (outcome === "") return []
    const duplicate = outcome.startsWith("=")
    return [{ index, id: Number(duplicate ? outcome.slice(1) : outcome) || null, duplicate }]
  })
  return { receivedAt, rows: inserted, failures }
}

/** What the database says of a batch in the ledger cannot be: an answer made of it would be wrong. */
export class WrongOutcome extends LoggableError {
  readonly transactionId: string
  readonly violation: string

  constructor(transactionId: string, violation: string) {
    super(`a batch has a wrong outcome: ${violation}`)
    this.transactionId = transactionId
    this.violation = violation
  }
}

/**
 * Checks the outcome of a batch before an answer is made of it.
 *
 * @param total the signals or scores that were sent
 * @throws {WrongOutcome} the batch is in the ledger all the same
 */
export function assertOutcome(
  transactionId: string,
  outcome: Pick<StoredBatch, "stored" | "failures">,
  total: number,
  options?: { isAscending?: boolean },
): void {
  const violation = violationIn(outcome, total, options)
  if (violation !== undefined) throw new WrongOutcome(transactionId, violation)
}

/** The database refused signals of an all-or-nothing batch: nothing was stored. */
export class BatchRefused extends Error {
  readonly failures: Failure[]

  constructor(failures: Failure[]) {
    super("the database refused signals of an all-or-nothing batch")
    this.failures = failures
  }
}

/**
 * No answer says whether the batch was stored. The ledger has it under `transactionId` if it was; or, with an
 * idempotency key, under the id of an earlier request with this key.
 */
export class BatchInDoubt extends Error {
  readonly transactionId: string
  override readonly cause: DatabaseError
  /** Whether the request has an idempotency key. */
  readonly underKey: boolean

  constructor(
    { transactionId, idempotency }: Pick<NewBatch, "transactionId" | "idempotency">,
    cause: DatabaseError,
  ) {
    super("the database did not say whether the batch was stored")
    this.transactionId = transactionId
    this.underKey = idempotency !== undefined
    this.cause = cause
  }
}
