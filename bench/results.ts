import type { Cell, Way } from "./cells.ts"
import type { Measurement } from "./harness/drive.ts"
import { median, quantile } from "./harness/statistics.ts"

/** A cell's figures, and its ratios to other cells. */
export interface Result extends Cell {
  batches: number
  signalsPerSecond: number
  p50Ms: number
  p99Ms: number
  /** CPU milliseconds a batch; NaN where there is no Linux /proc. */
  cpuMs: { workerd: number; endpoint: number; postgres: number }
  /** The ratio of its signals a second to those of: the single-signal route with the same callers and round trip, */
  ofSingle: number
  /** the same statement straight from `pg` on one connection, */
  ofPg: number
  /** and COPY of batches of the same size. */
  ofCopy: number
}

/** Throughput and CPU are medians over the rounds; latencies are of all requests of all rounds. */
export function resultsOf(measured: ReadonlyMap<Cell, readonly Measurement[]>): Result[] {
  const throughput = (way: Way, like: Partial<Cell>) => {
    const cell = [...measured.keys()].find(
      (one) => one.way === way && Object.entries(like).every(([name, value]) => one[name as keyof Cell] === value),
    )
    return cell ? signalsPerSecond(cell, measured.get(cell) ?? []) : Number.NaN
  }
  return [...measured].map(([cell, measurements]) => {
    const perSecond = signalsPerSecond(cell, measurements)
    const latencies = measurements.flatMap((one) => one.latencies)
    const { size, callers, latencyMs } = cell
    return {
      ...cell,
      batches: latencies.length,
      signalsPerSecond: perSecond,
      p50Ms: quantile(latencies, 0.5),
      p99Ms: quantile(latencies, 0.99),
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

const signalsPerSecond = ({ size }: Cell, measurements: readonly Measurement[]) =>
  median(measurements.map(({ batches, ms }) => (batches * size * 1000) / ms))

const cpuPerBatch = (measurements: readonly Measurement[], process: string) =>
  median(measurements.map(({ cpu, batches }) => (cpu[process] ?? Number.NaN) / batches))
