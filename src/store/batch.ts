import type { StoredBatch } from "../signals/answer.ts"
import type { BatchPlan, SignalRow } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import type { DatabaseError } from "./errors.ts"

/** A batch to store. */
export interface NewBatch {
  /** UUIDv7. Names the batch in the ledger, and makes every repetition of the write one write. */
  transactionId: string
  /** Who sent it; idempotency keys belong to a caller. */
  caller: string
  plan: BatchPlan
  /** Store every signal or none, should the database refuse one. */
  allOrNothing: boolean
  idempotency?: { key: string; requestHash: string } | undefined
}

/** A batch that the ledger has. `stored` lists every signal that is in the table, duplicates among them. */
export interface WrittenBatch extends StoredBatch {
  transactionId: string
  /** `failed`: it was acknowledged, none of it could be stored, and the ledger says so since an earlier attempt. */
  state: "stored" | "failed"
  /** An earlier request with the same idempotency key stored it. */
  replayed: boolean
  /** When the database stored it, as UTC text: `received_at` of its signals. */
  receivedAt: string
  /** How many of `stored` are duplicates: this batch stored the others anew. */
  duplicates: number
}

/** A row that did not fail: its place in the batch, and its id, undefined for a duplicate. */
export type InsertedRow = Pick<SignalRow, "index" | "dedupeKey"> & { id: number | undefined }

/** What an insert did: the rows that the database took, and the failures of the whole batch. */
export interface Inserted {
  /** When the database stored them, as UTC text. */
  receivedAt: string
  rows: InsertedRow[]
  failures: Failure[]
}

/** @param ids of the rows of the plan, joined by commas: "" for one whose dedupe_key was taken; null without rows */
export function withIds({ rows, failures }: BatchPlan, receivedAt: string, ids: string | null): Inserted {
  const each = ids?.split(",") ?? []
  const inserted = rows.map(({ index, dedupeKey }, place) => ({ index, dedupeKey, id: Number(each[place]) || undefined }))
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

/** No answer says whether the batch was stored; the ledger does, under `transactionId`. */
export class BatchInDoubt extends Error {
  readonly transactionId: string
  override readonly cause: DatabaseError

  constructor(transactionId: string, cause: DatabaseError) {
    super("the database did not say whether the batch was stored")
    this.transactionId = transactionId
    this.cause = cause
  }
}
