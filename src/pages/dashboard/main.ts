import type { MetricsAnswer } from "../../metrics/answer.ts"
import type { BatchPage, Conversations, SignalPage } from "./base/api.ts"
import { find } from "./base/dom.ts"
import { showEmptyOverview } from "./base/first-batch.ts"
import { zone } from "./base/format.ts"
import { watchKey } from "./base/key.ts"
import { watchAddress } from "./base/router.ts"
import { failuresPanel, sourcesPanel } from "./overview/breakdown.ts"
import { metricsCharts } from "./overview/charts/charts.ts"
import { outcomesTable, routesTable, showFigures } from "./overview/figures.ts"
import { batchesTable, conversationsTable, signalsTable } from "./overview/lists.ts"
import { EVERY_MS, keepFresh } from "./overview/refresh.ts"
import { source } from "./overview/source.ts"
import { statsWindow } from "./overview/stats-window.ts"
import { watchTheme } from "./theme.ts"
import { viewOf } from "./views/views.ts"

const window = find("[data-window]")
const charts = metricsCharts()
const sources = sourcesPanel()
const failures = failuresPanel()
const outcomes = outcomesTable()
const routes = routesTable()
const signals = signalsTable()
const batches = batchesTable()
const conversations = conversationsTable()
const stats = statsWindow()

const metrics = source<MetricsAnswer>({
  name: "metrics",
  path: () => `/api/metrics?window=${find<HTMLInputElement>(":checked", window).value}`,
  panels: ["figures", "throughput", "latency", "rates", "sources", "failures", "outcomes", "routes"],
  everyMs: EVERY_MS,
  show(answer) {
    showFigures(answer)
    charts.show(answer)
    sources.show(answer)
    void failures.show(answer)
    outcomes.show(answer.by_outcome)
    routes.show(answer.by_route)
  },
})

const lists = [
  source<SignalPage>({
    name: "signals",
    path: () => "/api/signals?limit=20",
    panels: ["signals"],
    everyMs: EVERY_MS,
    show(answer) {
      showEmptyOverview(answer.signals.length === 0)
      signals.show(answer.signals)
    },
  }),
  source<BatchPage>({
    name: "batches",
    path: () => "/api/batches?limit=20",
    panels: ["batches"],
    everyMs: EVERY_MS,
    show: (answer) => batches.show(answer.batches),
  }),
  source<Conversations>({
    name: "conversations",
    path: () => stats.path(Date.now()),
    panels: ["conversations"],
    everyMs: EVERY_MS,
    instead: ({ code }) => code === "read_too_costly" && stats.narrow(Date.now()),
    show(answer) {
      const reason = find("[data-stats-reason]")
      find("[data-stats-window]").textContent = stats.words()
      reason.textContent = stats.reason()
      reason.hidden = reason.textContent === ""
      conversations.show(answer.stats)
    },
  }),
]

watchTheme(() => {
  for (const { repaint } of [charts, sources, failures]) repaint()
})
find("[data-zone]").textContent = zone()
// The address names the view, so the link must not change it.
find("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault()
  find("main").focus()
})
window.addEventListener("change", () => void metrics.refresh(true))
const askNow = keepFresh([metrics, ...lists])
const showAgain = watchAddress(viewOf, askNow)
watchKey(() => {
  showAgain()
  askNow()
})
