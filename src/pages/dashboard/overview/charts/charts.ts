import type { MetricsAnswer } from "../../../../metrics/answer.ts"
import { find } from "../../base/dom.ts"
import { duration, rate, share } from "../../base/format.ts"
import { type Chart, type ChartData, chart } from "./chart.ts"

type Step = MetricsAnswer["series"][number]

/** The range of a line over the whole window, for the chart's sentence. */
function extremes(line: (number | null)[] | undefined, format: (value: number) => string): string {
  const known = (line ?? []).filter((value) => value !== null)
  if (known.length === 0) return "no data"
  return `from ${format(Math.min(...known))} to ${format(Math.max(...known))}`
}

/** Each chart with the values of its lines at a step. */
const CHARTS: {
  panel: string
  values: ((step: Step) => number | null)[]
  make: (panel: HTMLElement) => Chart
}[] = [
  {
    panel: "throughput",
    values: [(step) => step.signals_per_second, (step) => step.batches_per_second],
    make: (panel) =>
      chart(panel, {
        lines: [
          { name: "Signals/s", colour: 1, filled: true },
          { name: "Batches/s", colour: 2 },
        ],
        format: rate,
        ceiling: 0.01,
        summary: ({ values }) =>
          `Throughput over time: signals per second ${extremes(values[0], rate)}, batches ${extremes(values[1], rate)}.`,
      }),
  },
  {
    panel: "latency",
    values: [
      (step) => step.latency_ms?.p50 ?? null,
      (step) => step.latency_ms?.p95 ?? null,
      (step) => step.latency_ms?.p99 ?? null,
    ],
    make: (panel) =>
      chart(panel, {
        lines: [
          { name: "p50", colour: 1 },
          { name: "p95", colour: 2 },
          { name: "p99", colour: 3 },
        ],
        format: duration,
        summary: ({ values }) =>
          `Latency over time: median ${extremes(values[0], duration)}, p95 ${extremes(values[1], duration)}, p99 ${extremes(values[2], duration)}.`,
      }),
  },
  {
    panel: "rates",
    values: [(step) => step.success_rate, (step) => step.error_rate],
    make: (panel) =>
      chart(panel, {
        lines: [
          { name: "Success", colour: 4, filled: true },
          { name: "Error", colour: 3 },
        ],
        format: share,
        ceiling: 1.02,
        summary: ({ values }) =>
          `Success rate over time ${extremes(values[0], share)}, error rate ${extremes(values[1], share)}.`,
      }),
  },
]

/** All charts of the metrics. */
export function metricsCharts() {
  const charts = CHARTS.map(({ panel, values, make }) => ({
    values,
    chart: make(find(`[data-panel="${panel}"]`)),
  }))
  return {
    show({ series: all, step_seconds, measured_since }: MetricsAnswer): void {
      // Steps before the deployment's first data point show nothing.
      const series = all.filter(
        ({ time }) => Date.parse(time) + step_seconds * 1000 > Date.parse(measured_since),
      )
      const times = series.map((step) => new Date(step.time))
      const data = (values: (typeof charts)[number]["values"]): ChartData => ({
        times,
        stepSeconds: step_seconds,
        values: values.map((value) => series.map(value)),
      })
      for (const { chart, values } of charts) chart.show(data(values))
    },
    repaint(): void {
      for (const { chart } of charts) chart.repaint()
    },
  }
}
