import type { StoredBatch } from "../../signals/answer.ts"
import type { BatchPlan } from "../../signals/plan.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import type { DatabaseError } from "../database/errors.ts"

/** A batch to store. */
export interface NewBatch {
  /** UUIDv7. Identifies the batch in the ledger, so that a repeated write stores it once. */
  transactionId: string
  /** The sender, to whom the idempotency key belongs. */
  caller: string
  plan: BatchPlan
  /** Whether to store no signal when the database refuses one. */
  allOrNothing: boolean
  idempotency?: { key: string; requestHash: string } | undefined
}

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

/** A row that did not fail: its place in the batch, and its id; undefined for a duplicate. */
export type InsertedRow = Pick<SignalRow, "index" | "dedupeKey"> & { id: number | undefined }

/** The result of an insert: the rows that the database stored, and the failures of the whole batch. */
export interface Inserted {
  /** When the database stored them, as UTC text. */
  receivedAt: string
  rows: InsertedRow[]
  failures: Failure[]
}

/** @param ids the ids of the plan's rows, joined by commas: "" for a duplicate; null without rows */
export function withIds({ rows, failures }: BatchPlan, receivedAt: string, ids: string | null): Inserted {
  const each = ids?.split(",") ?? []
  const inserted = rows.map(({ index, dedupeKey }, place) => ({
    index,
    dedupeKey,
    id: Number(each[place]) || undefined,
  }))
  return { receivedAt, rows: inserted, failures }
}

/** The database refused signals of an all-or-nothing batch: nothing was stored. */
export class BatchRefused extends Error {
  readonly failures: Failure[]

  constructor(failures: Failure[]) {
    super("the database refused signals of an all-or-nothing batch")
    this.failures = failures
  }
}

/** No answer says whether the batch was stored. The ledger has it under `transactionId` if it was. */
export class BatchInDoubt extends Error {
  readonly transactionId: string
  override readonly cause: DatabaseError

  constructor(transactionId: string, cause: DatabaseError) {
    super("the database did not say whether the batch was stored")
    this.transactionId = transactionId
    this.cause = cause
  }
}
