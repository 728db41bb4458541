import type { Measurement } from "./drive.ts"
import { median, quantile } from "./statistics.ts"

/** What the rounds of one cell came to. */
export interface Summary {
  batches: number
  signalsPerSecond: number
  p50Ms: number
  p99Ms: number
}

/** Throughput is the median over the rounds; latencies are of all requests of all rounds. */
export function summaryOf(size: number, measurements: readonly Measurement[]): Summary {
  const latencies = measurements.flatMap((one) => one.latencies)
  return {
    batches: latencies.length,
    signalsPerSecond: median(measurements.map(({ batches, ms }) => (batches * size * 1000) / ms)),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  }
}

/** CPU milliseconds a batch of one process, the median over the rounds; NaN where there is no Linux /proc. */
export const cpuPerBatch = (measurements: readonly Measurement[], process: string) =>
  median(measurements.map(({ cpu, batches }) => (cpu[process] ?? Number.NaN) / batches))
