import type { Cell, Way } from "./cells.ts"
import type { Measurement } from "./harness/drive.ts"
import { cpuPerBatch, type Summary, summaryOf } from "./harness/summary.ts"

/** A cell's figures, and its ratios to other cells. */
export interface Result extends Cell, Summary {
  /** CPU milliseconds a batch; NaN where there is no Linux /proc. */
  cpuMs: { workerd: number; endpoint: number; postgres: number }
  /**
   * The ratio of its signals a second to those of: the single-signal route with the same callers and round
   * trip,
   */
  ofSingle: number
  /** the same statement straight from `pg` on one connection, */
  ofPg: number
  /** and COPY of batches of the same size. */
  ofCopy: number
}

export function resultsOf(measured: ReadonlyMap<Cell, readonly Measurement[]>): Result[] {
  const throughput = (way: Way, like: Partial<Cell>) => {
    const cell = [...measured.keys()].find(
      (one) =>
        one.way === way && Object.entries(like).every(([name, value]) => one[name as keyof Cell] === value),
    )
    return cell ? summaryOf(cell.size, measured.get(cell) ?? []).signalsPerSecond : Number.NaN
  }
  return [...measured].map(([cell, measurements]) => {
    const { size, callers, latencyMs } = cell
    const summary = summaryOf(size, measurements)
    const { signalsPerSecond: perSecond } = summary
    return {
      ...cell,
      ...summary,
      cpuMs: {
        workerd: cpuPerBatch(measurements, "workerd"),
        endpoint: cpuPerBatch(measurements, "endpoint"),
        postgres: cpuPerBatch(measurements, "postgres"),
      },
      ofSingle: perSecond / throughput("single", { callers, latencyMs }),
      ofPg: perSecond / throughput("pg", { size, callers: 1 }),
      ofCopy: perSecond / throughput("copy", { size }),
    }
  })
}
