import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { type Tally, tallySources } from "../../signals/tally.ts"
import type { NewBatch } from "../batch.ts"

/** The counts of signals. */
export interface Counts {
  /** Signals that are new in the table, and the same by source. */
  stored: number
  sources: Tally
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** The failures that were not known when the batches were accepted. */
  failures: Failure[]
}

interface Entered {
  stored: Map<number, Pick<SignalRow, "signalSource">>
  duplicates: Set<number>
  failures: Map<number, Failure>
}

/**
 * The outcomes of the signals in batches that one call entered in the ledger. No other call counts them, so
 * that a batch that is delivered again counts once. They are valid also when the call throws: the next one
 * finds these batches in the ledger.
 *
 * A batch whose answer was lost is not counted: no later call can distinguish it from one that was counted.
 */
export class Outcomes {
  readonly #entered = new Map<string, Entered>()

  /** Adds a batch that this call entered in the ledger. */
  enter(
    { transactionId, plan }: Pick<NewBatch, "transactionId" | "plan">,
    {
      rows,
      failures,
    }: { rows: readonly { index: number; duplicate: boolean }[]; failures: readonly Failure[] },
  ): void {
    const planned = new Map(plan.rows.map((row) => [row.index, row]))
    const entered: Entered = { stored: new Map(), duplicates: new Set(), failures: new Map() }
    for (const { index, duplicate } of rows) {
      const row = planned.get(index)
      if (duplicate) entered.duplicates.add(index)
      else if (row) entered.stored.set(index, row)
    }
    this.#entered.set(transactionId, entered)
    for (const failure of failures) this.fail(transactionId, failure)
  }

  /**
   * Replaces the outcome of a signal by a failure, such as that of an edit. A batch of another call stays as
   * that call counted it.
   */
  fail(transactionId: string, failure: Failure): void {
    const entered = this.#entered.get(transactionId)
    entered?.stored.delete(failure.index)
    entered?.duplicates.delete(failure.index)
    entered?.failures.set(failure.index, failure)
  }

  counts(): Counts {
    const all = [...this.#entered.values()]
    const stored = all.flatMap((entered) => [...entered.stored.values()])
    return {
      stored: stored.length,
      sources: tallySources(stored),
      duplicates: all.reduce((sum, { duplicates }) => sum + duplicates.size, 0),
      failures: all.flatMap(({ failures }) => [...failures.values()]),
    }
  }
}
