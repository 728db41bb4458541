import {
  addScores,
  type Counts,
  countScores,
  countSources,
  NO_SCORES,
  type ScoreCounts,
} from "../../signals/answer.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import type { Inserted, NewBatch } from "./batch.ts"

/** The counts of signals. */
export interface SignalCounts {
  /** Signals that are new in the table, and the same by source. */
  stored: number
  sources: Counts
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** The failures that were not known when the batches were accepted. */
  failures: Failure[]
  /** The scores that came with them. */
  scores: ScoreCounts
}

interface Entered {
  stored: Map<number, Pick<SignalRow, "signalSource">>
  duplicates: Set<number>
  failures: readonly Failure[]
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
  #scores = NO_SCORES

  /** Adds the scores of a batch that this call entered in the ledger. */
  enterScores({ rows, failures }: Pick<Inserted, "rows" | "failures">): void {
    this.#scores = addScores(this.#scores, countScores({ stored: rows, failures }))
  }

  /** Adds a batch that this call entered in the ledger. */
  enter(
    { transactionId, plan }: Pick<NewBatch, "transactionId" | "plan">,
    {
      rows,
      failures,
    }: { rows: readonly { index: number; duplicate: boolean }[]; failures: readonly Failure[] },
  ): void {
    const planned = new Map(plan.rows.map((row) => [row.index, row]))
    const entered: Entered = { stored: new Map(), duplicates: new Set(), failures }
    for (const { index, duplicate } of rows) {
      const row = planned.get(index)
      if (duplicate) entered.duplicates.add(index)
      else if (row) entered.stored.set(index, row)
    }
    this.#entered.set(transactionId, entered)
  }

  counts(): SignalCounts {
    const all = [...this.#entered.values()]
    const stored = all.flatMap((entered) => [...entered.stored.values()])
    return {
      stored: stored.length,
      sources: countSources(stored),
      duplicates: all.reduce((sum, { duplicates }) => sum + duplicates.size, 0),
      failures: all.flatMap(({ failures }) => failures),
      scores: this.#scores,
    }
  }
}
