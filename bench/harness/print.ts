import type { Expectation } from "../expectations.ts"
import type { Result } from "../results.ts"

const LABELS = {
  single: "POST /api/signals",
  batch: "POST /api/signals/batch",
  pg: "same statement, pg",
  copy: "COPY",
} as const

/** Prints the table: one line for each cell, grouped by batch size. */
export function printResults(results: readonly Result[]): void {
  printTable(
    [
      "what",
      "size",
      "callers",
      "+rtt ms",
      "signals/s",
      "p50 ms",
      "p99 ms",
      "x single",
      "x pg",
      "x COPY",
      "workerd",
      "endpoint",
      "postgres",
    ],
    results.map((result) => [
      LABELS[result.way],
      String(result.size),
      String(result.callers),
      String(result.latencyMs),
      result.signalsPerSecond.toFixed(0),
      result.p50Ms.toFixed(1),
      result.p99Ms.toFixed(1),
      ...[result.ofSingle, result.ofPg, result.ofCopy].map(ratio),
      ...[result.cpuMs.workerd, result.cpuMs.endpoint, result.cpuMs.postgres].map((ms) => ms.toFixed(2)),
    ]),
  )
  console.log(
    "x single: same callers and round trip. x pg: one connection. x COPY: one connection. The last three: CPU ms a batch.",
  )
}

export function printExpectations(expectations: readonly Expectation[]): void {
  printTable(
    ["what", "expected", "measured", ""],
    expectations.map(({ what, expected, measured, met }) => [
      what,
      expected,
      measured,
      met ? "met" : "not met",
    ]),
  )
}

const ratio = (value: number) => (value >= 10 ? value.toFixed(0) : value.toFixed(2))

/** Aligns the first column left and the others right. */
export function printTable(head: readonly string[], lines: readonly (readonly string[])[]): void {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  for (const line of [head, ...lines]) {
    console.log(
      line
        .map((text, column) =>
          column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
  }
}
