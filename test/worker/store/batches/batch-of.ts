import { uuidv7 } from "uuidv7"
import { planBatch } from "../../../../src/signals/plan.ts"
import type { Signal } from "../../../../src/signals/schema.ts"
import type { NewBatch } from "../../../../src/store/batches/batch.ts"
import { connect } from "../../../../src/store/database/connection.ts"
import { bindings } from "../../service.ts"

/** The database as a request sees it. */
export const database = () =>
  connect({
    url: bindings.DATABASE_URL ?? "",
    httpEndpoint: bindings.DATABASE_HTTP_ENDPOINT,
    deadlineMs: 10_000,
  })

/** A best-effort batch of these signals, under a transaction id of its own unless one is given. */
export function batchOf(signals: Signal[], more: Partial<NewBatch> = {}): NewBatch {
  const plan = planBatch(signals, "2026-01-02T03:04:05.000000Z")
  return { transactionId: uuidv7(), caller: "tests", plan, allOrNothing: false, ...more }
}
