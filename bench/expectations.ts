import { CALLERS, type Cell, LATENCIES_MS } from "./cells.ts"
import type { Result } from "./results.ts"

/** The targets of the service on a machine with two cores, next to the measured values. */
export interface Expectation {
  what: string
  expected: string
  measured: string
  met: boolean
}

export interface Measured {
  results: readonly Result[]
  /** The smallest heap that is enough for 10,000 signals in one batch. */
  heapMiB: number
  bundle: { bytes: number; gzipBytes: number }
}

export function compareWithExpected({ results, heapMiB, bundle }: Measured): Expectation[] {
  const batch = (like: Partial<Cell>): Result => {
    const names = Object.keys(like) as (keyof Cell)[]
    const found = results.find(
      (result) => result.way === "batch" && names.every((name) => result[name] === like[name]),
    )
    if (!found) throw new Error(`no such cell: ${JSON.stringify(like)}`)
    return found
  }
  const busy = batch({ size: 500, callers: 8, latencyMs: 0 })
  const alone = batch({ size: 500, callers: 1, latencyMs: 0 })
  const largest = batch({ size: 10_000, callers: 1, latencyMs: 0 })
  return [
    ...LATENCIES_MS.toReversed().flatMap((latencyMs) =>
      CALLERS.map((callers) => {
        const what = `500 a batch, ${latencyMs} ms round trip, ${callers} caller(s): times the single-signal route`
        return atLeast(what, 100, batch({ size: 500, callers, latencyMs }).ofSingle)
      }),
    ),
    atLeast("500 a batch, 8 callers: share of direct pg on one connection", 0.9, busy.ofPg),
    atLeast("500 a batch, 8 callers: share of COPY", 0.5, busy.ofCopy),
    atMost("500 a batch, 1 caller: workerd's CPU ms", 3, alone.cpuMs.workerd),
    atMost("10,000 in one batch: ms (p50)", 700, largest.p50Ms),
    atMost("10,000 in one batch: MiB of the isolate's heap", 128, heapMiB),
    atMost("bundle, gzipped, KB", 150, bundle.gzipBytes / 1000),
  ]
}

const atLeast = (what: string, limit: number, value: number): Expectation => ({
  what,
  expected: `>= ${limit}`,
  measured: rounded(value),
  met: value >= limit,
})

const atMost = (what: string, limit: number, value: number): Expectation => ({
  what,
  expected: `<= ${limit}`,
  measured: rounded(value),
  met: value <= limit,
})

const rounded = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3))
