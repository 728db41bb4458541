import { printTable } from "../harness/print.ts"
import type { Scale } from "./measure.ts"
import type { Planning } from "./planning.ts"

const millions = (rows: number) => `${rows / 1e6} M`

/** Prints a table with a line for each measured value and a column for each size. */
export function printScales(scales: readonly Scale[]): void {
  const line = (what: string, of: (scale: Scale) => string) => [what, ...scales.map(of)]
  const [first] = scales
  const times = ({ p50Ms, p99Ms }: { p50Ms: number; p99Ms: number }) =>
    `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)}`
  printTable(
    ["signals in the table", ...scales.map(({ rows }) => millions(rows))],
    [
      line("insert of 500, p50 / p99 ms", ({ insert }) => times(insert)),
      line("  of the first column's p50", ({ insert }) =>
        (insert.p50Ms / (first?.insert.p50Ms ?? Number.NaN)).toFixed(2),
      ),
      line("  Postgres, CPU ms", ({ insert }) => insert.postgresCpuMs.toFixed(1)),
      line("  of the first column's", ({ insert }) =>
        (insert.postgresCpuMs / (first?.insert.postgresCpuMs ?? Number.NaN)).toFixed(2),
      ),
      line("  WAL, bytes a signal", ({ insert }) => insert.walBytesPerSignal.toFixed(0)),
      line("signals/s, 8 callers", ({ signalsPerSecond }) => signalsPerSecond.toFixed(0)),
      line("bytes a signal: rows", ({ bytesPerSignal }) => bytesPerSignal?.heap.toFixed(0) ?? ""),
      line("  indexes", ({ bytesPerSignal }) => bytesPerSignal?.indexes.toFixed(0) ?? ""),
      line("  dedupe_keys", ({ bytesPerSignal }) => bytesPerSignal?.keys.toFixed(0) ?? ""),
      ...(first?.reads ?? []).map(({ name }, number) =>
        line(name, ({ reads }) => {
          const read = reads[number]
          return read ? times(read) + (read.status === 200 ? "" : ` (${read.status})`) : ""
        }),
      ),
    ],
  )
  console.log("Reads: one caller, p50 / p99 ms.\n")
}

export function printPlanning(planning: readonly Planning[]): void {
  const names = Object.keys(planning[0]?.ms ?? {})
  printTable(
    ["planning of a read, ms", ...names],
    planning.map(({ partitions, ms }) => [
      `${partitions} partitions`,
      ...names.map((name) => (ms[name] ?? Number.NaN).toFixed(2)),
    ]),
  )
}
