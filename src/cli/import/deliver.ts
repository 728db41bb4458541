import { deliverEach } from "../../client/deliver.ts"
import {
  type BatchAnswer,
  type Failure,
  RateLimitedError,
  type SignalClient,
  UnavailableError,
} from "../../client/index.ts"
import type { AdaptiveLimit } from "./adaptive-limit.ts"
import type { ImportBatch } from "./batches.ts"

/**
 * Delivers a batch. Resolves with the signals that failed; every other signal is stored, now or by an earlier
 * run.
 */
export type Deliver = (batch: ImportBatch, limit: AdaptiveLimit) => Promise<Failure[]>

/**
 * Delivers each batch under an Idempotency-Key of the import and the batch number, so that a batch sent again
 * is stored once.
 */
export function deliverTo(
  client: SignalClient,
  importId: string,
  options: { deadlineMs: number; onAnswer?: (answer: BatchAnswer) => void },
): Deliver {
  return async (batch, limit) => {
    // The service validates the signals, even a missing context_window_id.
    const failures = await deliverEach(client, batch.signals as never, {
      deadlineMs: options.deadlineMs,
      onAnswer: options.onAnswer,
      idempotencyKey: `import-${importId}-${batch.number}`,
      onRetry: ({ reason }) => {
        if (reason instanceof RateLimitedError || reason instanceof UnavailableError) limit.shrink()
      },
    })
    limit.grow()
    return failures
  }
}
