import { deliverTexts } from "../../client/deliver.ts"
import {
  type BatchAnswer,
  type Failure,
  RateLimitedError,
  type SignalClient,
  UnavailableError,
  ValidationError,
} from "../../client/index.ts"
import type { AdaptiveLimit } from "./adaptive-limit.ts"
import type { ImportBatch } from "./batches.ts"

/**
 * Delivers a batch. Resolves with the signals that failed; every other signal is stored, now or by an earlier
 * run.
 */
export type Deliver = (batch: ImportBatch, limit: AdaptiveLimit) => Promise<Failure[]>

const CHANGED =
  "An earlier run sent and stored the batch of this record before the source was changed. Compare the record with what is stored"

/**
 * Delivers each batch under an Idempotency-Key of the import and the batch number, so that a batch sent again
 * is stored once.
 */
export function deliverTo(
  client: SignalClient,
  importId: string,
  options: {
    deadlineMs: number
    signal: AbortSignal
    isScores?: boolean
    onAnswer?: (answer: BatchAnswer) => void
  },
): Deliver {
  return async (batch, limit) => {
    const failures = await deliverTexts(client, batch.texts, {
      ...options,
      idempotencyKey: batchKey(importId, batch.number),
      onRetry: ({ reason }) => {
        if (reason instanceof RateLimitedError || reason instanceof UnavailableError) limit.shrink()
      },
    }).catch((error) => {
      if (!isKeyReused(error)) throw error
      return batch.texts.map((_, index): Failure => {
        return { index, error: CHANGED, code: "unreadable_record", retryable: false }
      })
    })
    limit.grow()
    return failures
  }
}

export const batchKey = (importId: string, number: number) => `import-${importId}-${number}`

/** The service has another batch under this key. */
export const isKeyReused = (error: unknown) =>
  error instanceof ValidationError && error.errors.some(({ type }) => type === "idempotency_key_reused")
