import { deliverEach } from "../../client/deliver.ts"
import { type BatchAnswer, type Failure, RateLimitedError, type SignalClient, UnavailableError } from "../../client/index.ts"
import type { ImportBatch } from "./batches.ts"
import { findShapeError } from "./shape.ts"
import type { Window } from "./window.ts"

/** Delivers a batch. Resolves with what of it was not stored; every other signal was, now or at an earlier run. */
export type Deliver = (batch: ImportBatch, window: Window) => Promise<Failure[]>

/** Delivers each batch under a key made from the import and its number, so that sending it again stores nothing twice. */
export function deliverTo(
  client: SignalClient,
  importId: string,
  options: { deadlineMs: number; onAnswer?: (answer: BatchAnswer) => void },
): Deliver {
  return async (batch, window) => {
    // What is wrong with a signal, a missing conversation too, is for the service to say.
    const failures = await deliverEach(client, batch.signals as never, {
      deadlineMs: options.deadlineMs,
      findShapeError: (signal) => findShapeError({ ...signal }),
      onAnswer: options.onAnswer,
      idempotencyKey: `import-${importId}-${batch.number}`,
      onRetry: ({ reason }) => {
        if (reason instanceof RateLimitedError || reason instanceof UnavailableError) window.shrink()
      },
    })
    window.grow()
    return failures
  }
}
