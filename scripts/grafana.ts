import { writeFile } from "node:fs/promises"
import { OUTCOMES } from "../src/metrics/points.ts"
import {
  byCodeQuery,
  byOutcomeQuery,
  byRouteQuery,
  bySourceQuery,
  inDoubtQuery,
  ratesQuery,
  seriesQuery,
  signalsQuery,
  sweepFailuresQuery,
  totalsQuery,
} from "../src/metrics/queries.ts"

/** `npm run grafana`: writes the dashboard and the alerts, from the queries of GET /api/metrics. */

const DATASOURCE = { type: "yesoreyeram-infinity-datasource", uid: "signal-ingest-analytics" }

/** Grafana replaces its variables when it sends a query. */
const span = { since: `\${__from:date:seconds}`, until: `\${__to:date:seconds}` }
const series = seriesQuery(span, `\${step}`)
const signals = signalsQuery(span, `\${step}`)

interface Column {
  selector: string
  text: string
  type: "timestamp_epoch_s" | "number" | "string"
}

const time: Column = { selector: "time", text: "Time", type: "timestamp_epoch_s" }
const number = (selector: string, text: string): Column => ({ selector, text, type: "number" })
const name = (text: string): Column => ({ selector: "name", text, type: "string" })

/** A query of the Infinity data source: the SQL as the body, rows below `data`. */
const target = (sql: string, columns: Column[]) => ({
  refId: "A",
  datasource: DATASOURCE,
  type: "json",
  source: "url",
  parser: "backend",
  format: "table",
  url: "",
  url_options: {
    method: "POST",
    body_type: "raw",
    body_content_type: "text/plain",
    data: `${sql} FORMAT JSON`,
  },
  root_selector: "data",
  columns,
})

type Target = ReturnType<typeof target>

let panels = 0
const panel = (
  type: string,
  title: string,
  unit: string,
  query: Target,
  gridPos: { x: number; y: number; w: number; h: number },
  options = {},
) => ({
  id: ++panels,
  type,
  title,
  datasource: DATASOURCE,
  gridPos,
  fieldConfig: { defaults: { unit }, overrides: [] },
  options,
  targets: [query],
  ...(type === "table" && { transformations: [inOrder(query.columns)] }),
})

/** The data source sorts columns by name, so a table names the order of its columns. */
const inOrder = (columns: readonly Column[]) => ({
  id: "organize",
  options: {
    excludeByName: {},
    indexByName: Object.fromEntries(columns.map(({ text }, index) => [text, index])),
    renameByName: {},
  },
})

const signalCounts = [
  number("signals_created", "created"),
  number("signals_duplicate", "duplicate"),
  number("signals_failed", "failed"),
]
/** The sum of a series instead of its last step. */
const SUMMED = { reduceOptions: { calcs: ["sum"] } }
const percentiles = ["p50", "p95", "p99"].map((selector) => number(selector, selector))

export const dashboard = {
  uid: "signal-ingest",
  title: "signal-ingest",
  tags: ["signal-ingest"],
  schemaVersion: 39,
  refresh: "30s",
  time: { from: "now-1h", to: "now" },
  templating: {
    list: [
      {
        name: "step",
        label: "Step (seconds)",
        type: "custom",
        query: "60,300,900,3600",
        current: { text: "60", value: "60" },
        options: ["60", "300", "900", "3600"].map((value) => ({
          text: value,
          value,
          selected: value === "60",
        })),
      },
    ],
  },
  panels: [
    panel(
      "stat",
      "Requests",
      "short",
      target(totalsQuery(span), [number("requests", "requests"), number("batches", "batches")]),
      { x: 0, y: 0, w: 6, h: 4 },
    ),
    panel(
      "stat",
      "Signals",
      "short",
      target(signals, [time, ...signalCounts]),
      { x: 6, y: 0, w: 6, h: 4 },
      SUMMED,
    ),
    panel(
      "stat",
      "Success and error rate",
      "percentunit",
      target(ratesQuery(span), [number("success_rate", "success rate"), number("error_rate", "error rate")]),
      { x: 12, y: 0, w: 12, h: 4 },
    ),
    panel("timeseries", "Signals a step", "short", target(signals, [time, ...signalCounts]), {
      x: 0,
      y: 4,
      w: 12,
      h: 8,
    }),
    panel(
      "timeseries",
      "Batches a step",
      "short",
      target(series, [time, number("batches", "batches"), number("requests", "requests")]),
      { x: 12, y: 4, w: 12, h: 8 },
    ),
    panel("timeseries", "Latency", "ms", target(series, [time, ...percentiles]), {
      x: 0,
      y: 12,
      w: 12,
      h: 8,
    }),
    panel(
      "timeseries",
      "Outcomes a step",
      "short",
      target(series, [time, ...OUTCOMES.map((outcome) => number(outcome, outcome))]),
      { x: 12, y: 12, w: 12, h: 8 },
    ),
    panel(
      "table",
      "Outcomes",
      "short",
      target(byOutcomeQuery(span), [
        name("outcome"),
        number("requests", "requests"),
        ...signalCounts,
        ...percentiles,
      ]),
      { x: 0, y: 20, w: 12, h: 8 },
    ),
    panel(
      "table",
      "Routes",
      "short",
      target(byRouteQuery(span), [name("route"), number("requests", "requests"), ...percentiles]),
      { x: 12, y: 20, w: 12, h: 8 },
    ),
    panel(
      "table",
      "Failures by code",
      "short",
      target(byCodeQuery(span), [
        name("code"),
        number("failed_requests", "requests"),
        number("signals_failed", "signals"),
      ]),
      { x: 0, y: 28, w: 12, h: 8 },
    ),
    panel(
      "table",
      "Signals by source",
      "short",
      target(bySourceQuery(span), [name("source"), number("signals_created", "created")]),
      { x: 12, y: 28, w: 12, h: 8 },
    ),
  ],
}

/** The last minutes of an alert: Grafana does not replace variables in its query. */
const last = (minutes: number) => ({
  since: `toUnixTimestamp(now() - INTERVAL '${minutes}' MINUTE)`,
  until: "toUnixTimestamp(now())",
})

/** A rule that fires while the only number of a query is greater than `above`. */
const rule = (
  id: string,
  title: string,
  severity: "critical" | "warning",
  { sql, column, above, minutes, during, summary }: Condition,
) => ({
  uid: `signal-ingest-${id}`,
  title: `signal-ingest: ${title}`,
  condition: "C",
  for: during,
  // Without requests there is no row.
  noDataState: "OK",
  // Cloudflare's API is unavailable now and then, and refuses a dataset without points.
  execErrState: "KeepLast",
  labels: { severity },
  annotations: { summary },
  data: [
    {
      refId: "A",
      datasourceUid: DATASOURCE.uid,
      relativeTimeRange: { from: minutes * 60, to: 0 },
      // One number: a threshold looks at every number that a query gives.
      model: target(sql, [column]),
    },
    {
      refId: "B",
      datasourceUid: "__expr__",
      model: { refId: "B", type: "reduce", expression: "A", reducer: "last" },
    },
    {
      refId: "C",
      datasourceUid: "__expr__",
      model: {
        refId: "C",
        type: "threshold",
        expression: "B",
        conditions: [{ evaluator: { type: "gt", params: [above] } }],
      },
    },
  ],
})

interface Condition {
  sql: string
  column: Column
  above: number
  minutes: number
  /** How long the condition holds before the alert fires. */
  during: string
  summary: string
}

export const alert = {
  apiVersion: 1,
  groups: [
    {
      orgId: 1,
      name: "signal-ingest",
      folder: "signal-ingest",
      interval: "1m",
      rules: [
        rule("error-rate", "more than 5 % of requests fail", "critical", {
          sql: ratesQuery(last(5)),
          column: number("error_rate", "error rate"),
          above: 0.05,
          minutes: 5,
          during: "5m",
          summary:
            "In the last 5 minutes, more than 5 % of the requests that send signals ended in an error.",
        }),
        rule("in-doubt", "an answer was in doubt", "warning", {
          sql: inDoubtQuery(last(15)),
          column: number("requests", "requests"),
          above: 0,
          minutes: 15,
          during: "0s",
          summary: "In the last 15 minutes, a caller did not learn whether its batch was stored.",
        }),
        rule("slow", "one request in 100 takes longer than 2 seconds", "warning", {
          sql: totalsQuery(last(10)),
          column: number("p99", "p99 in milliseconds"),
          above: 2000,
          minutes: 10,
          during: "10m",
          summary:
            "In the last 10 minutes, one request in 100 that sends signals took longer than 2 seconds.",
        }),
        rule("sweep", "the hourly sweep fails", "warning", {
          sql: sweepFailuresQuery(last(180)),
          column: number("failures", "failed steps"),
          above: 1,
          minutes: 180,
          during: "0s",
          summary: "In the last 3 hours, steps of the hourly sweep failed more than once.",
        }),
      ],
    },
  ],
}

if (import.meta.main) {
  for (const [file, value] of Object.entries({ "dashboard.json": dashboard, "alert.json": alert }))
    await writeFile(
      new URL(`../deploy/grafana/${file}`, import.meta.url),
      `${JSON.stringify(value, null, 2)}\n`,
    )
}
