import type { MetricsAnswer } from "../../../metrics/answer.ts"
import { find } from "../base/dom.ts"
import { count, duration, moment, rate, share } from "../base/format.ts"
import { type Table, table } from "../base/table.ts"

/** The tiles. */
export function showFigures({ totals, scores, measured_since, until }: MetricsAnswer): void {
  const show = (
    name: string,
    value: number | null | undefined,
    format: (value: number | null | undefined) => string,
  ) => {
    const element = find(`[data-figure="${name}"]`)
    element.textContent = format(value)
    if (value === null || value === undefined) delete element.dataset.value
    else element.dataset.value = String(value)
  }
  find("[data-span]").textContent = `${moment(new Date(measured_since))} – ${moment(new Date(until))}`
  find("[data-metrics]").dataset.quiet = String(totals.requests === 0)
  for (const name of ["signals_per_second", "batches_per_second"] as const) show(name, totals[name], rate)
  for (const name of ["signals_created", "signals_duplicate", "signals_failed", "requests"] as const)
    show(name, totals[name], count)
  for (const name of ["stored", "waiting", "duplicate", "failed"] as const)
    show(`scores_${name}`, scores[name], count)
  for (const name of ["success_rate", "error_rate"] as const) show(name, totals[name], share)
  for (const name of ["p50", "p95", "p99"] as const) show(name, totals.latency_ms?.[name], duration)
}

type OutcomeRow = MetricsAnswer["by_outcome"][number]
type RouteRow = MetricsAnswer["by_route"][number]

/** The name of an outcome for people. */
const inWords = (outcome: string) => outcome.replaceAll("_", " ")

export function outcomesTable(): Table<OutcomeRow> {
  return table<OutcomeRow>(find('[data-panel="outcomes"]'), {
    label: "Requests by outcome",
    none: "No requests in this window.",
    hook: (row) => ["data-outcome", row.outcome],
    columns: [
      { title: "Outcome", cell: (row) => inWords(row.outcome) },
      { title: "Requests", numeric: true, cell: (row) => count(row.requests) },
      { title: "Signals", numeric: true, cell: (row) => count(row.signals_created) },
      { title: "p50", numeric: true, cell: (row) => duration(row.latency_ms?.p50) },
      { title: "p95", numeric: true, cell: (row) => duration(row.latency_ms?.p95) },
    ],
  })
}

export function routesTable(): Table<RouteRow> {
  return table<RouteRow>(find('[data-panel="routes"]'), {
    label: "Requests by route",
    none: "No requests in this window.",
    hook: (row) => ["data-route", row.route],
    columns: [
      { title: "Route", cell: (row) => row.route },
      { title: "Requests", numeric: true, cell: (row) => count(row.requests) },
      { title: "Success", numeric: true, cell: (row) => share(row.success_rate) },
      { title: "p50", numeric: true, cell: (row) => duration(row.latency_ms?.p50) },
      { title: "p95", numeric: true, cell: (row) => duration(row.latency_ms?.p95) },
    ],
  })
}
