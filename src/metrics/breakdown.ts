import type { FailureLine, SourceLine } from "./answer.ts"

/** How many names have a line of their own. */
const LINES = 6

/** The code of failures that an earlier version counted, which wrote none. */
export const WITHOUT_CODE = "unclassified"

/** A row of `breakdownQuery`. */
export type BreakdownRow = Record<string, string | number | null>

/** The steps of the answer's series. */
export interface Steps {
  /** Seconds since the epoch. */
  since: number
  seconds: number
  count: number
}

interface Line {
  /** Null: of every other name. */
  name: string | null
  /** The sum of each measure, and that of each step. */
  totals: number[]
  steps: number[][]
}

/** Signals stored by source, the most first. */
export function sourceLines(rows: readonly BreakdownRow[], steps: Steps): SourceLine[] {
  const lines = linesOf(rows, steps, (row) => String(row.source ?? ""), ["signals_created"])
  return lines.map(({ name, totals: [created = 0], steps: [byStep = []] }) => ({
    source: name,
    signals_created: created,
    signals_created_by_step: byStep,
  }))
}

/** Requests and signals that failed by code, the most requests first. */
export function failureLines(rows: readonly BreakdownRow[], steps: Steps): FailureLine[] {
  const lines = linesOf(rows, steps, (row) => String(row.code || WITHOUT_CODE), [
    "failed_requests",
    "signals_failed",
  ])
  return lines.map(
    ({ name, totals: [requests = 0, signals = 0], steps: [requestsByStep = [], signalsByStep = []] }) => ({
      code: name,
      requests,
      signals_failed: signals,
      requests_by_step: requestsByStep,
      signals_failed_by_step: signalsByStep,
    }),
  )
}

/** One line a name by the first measure, the largest first, and all others in one. */
function linesOf(
  rows: readonly BreakdownRow[],
  { since, seconds, count }: Steps,
  nameOf: (row: BreakdownRow) => string,
  measures: readonly string[],
): Line[] {
  const lines = new Map<string, Line>()
  for (const row of rows) {
    const values = measures.map((measure) => Number(row[measure] ?? 0))
    if (values.every((value) => value === 0)) continue
    const name = nameOf(row)
    const line = lines.get(name) ?? emptyLine(name === "" ? null : name, measures, count)
    lines.set(name, line)
    add(line, (Number(row.time) - since) / seconds, values)
  }
  const sorted = [...lines.values()].sort(
    (one, other) =>
      (other.totals[0] ?? 0) - (one.totals[0] ?? 0) || (one.name ?? "").localeCompare(other.name ?? "", "en"),
  )
  const named = sorted.filter(({ name }) => name !== null)
  const others = [...named.slice(LINES), ...sorted.filter(({ name }) => name === null)]
  if (others.length === 0) return named
  const rest = emptyLine(null, measures, count)
  for (const { steps } of others)
    for (const step of rest.steps[0]?.keys() ?? []) {
      const values = steps.map((line) => line[step] ?? 0)
      add(rest, step, values)
    }
  return [...named.slice(0, LINES), rest]
}

const emptyLine = (name: string | null, measures: readonly string[], count: number): Line => ({
  name,
  totals: measures.map(() => 0),
  steps: measures.map(() => new Array<number>(count).fill(0)),
})

function add({ totals, steps }: Line, step: number, values: readonly number[]): void {
  for (const [measure, value] of values.entries()) {
    totals[measure] = (totals[measure] ?? 0) + value
    const line = steps[measure]
    if (line?.[step] !== undefined) line[step] += value
  }
}
