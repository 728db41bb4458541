import { zValidator } from "@hono/zod-validator"
import { Hono } from "hono"
import type { AnalyticsSettings } from "../../metrics/analytics.ts"
import type { Window } from "../../metrics/answer.ts"
import { gauges, type ServiceState, subscriptionGauges } from "../../metrics/gauges.ts"
import { readCounters } from "../../metrics/prometheus.ts"
import { readMetrics } from "../../metrics/read.ts"
import { sharedAnswer } from "../../metrics/shared-answer.ts"
import { canWrite, connect, type DatabaseSettings } from "../../store/database/connection.ts"
import { DatabaseError } from "../../store/database/errors.ts"
import { operatingFigures, storageFigures } from "../../store/lifecycle/storage.ts"
import { listSubscriptions } from "../../store/subscriptions/records.ts"
import { requireScope } from "../request/auth.ts"
import type { App } from "../request/context.ts"
import { limitAddress } from "../request/limits.ts"
import { MetricsQuery, refuseShape } from "../request/params.ts"
import { notReady } from "../request/problems.ts"

/**
 * The time for which all readers share one answer, a fraction of the window. With permanent readers of every
 * window and of the counters, a Cloudflare location sends 428 queries in 5 minutes.
 */
const SHARED_SECONDS: Record<Window | "counters", number> = {
  "15m": 10,
  "1h": 30,
  "24h": 60,
  "7d": 300,
  counters: 10,
}

/** The cache key of an answer. It differs between accounts, and does not contain the token. */
const sharedName = (analytics: AnalyticsSettings | undefined, view: string) =>
  [analytics?.endpoint ?? "", analytics?.accountId ?? "", view].map(encodeURIComponent).join("/")

/** GET /api/metrics: the figures of a window, as totals and as a series. */
export const metrics = new Hono<App>().get(
  "/",
  requireScope("read"),
  zValidator("query", MetricsQuery, refuseShape),
  async (c) => {
    const { window } = c.req.valid("query")
    const { analytics } = c.get("settings")
    const text = await sharedAnswer(sharedName(analytics, window), SHARED_SECONDS[window], async () =>
      JSON.stringify(await readMetrics(analytics, window, Date.now())),
    )
    return c.body(text, 200, { "Content-Type": "application/json" })
  },
)

/** How long a scrape waits for the database, below the 10 seconds that Prometheus waits for the scrape. */
const STATE_DEADLINE_MS = 3000

/**
 * GET /metrics: the counters of the day and the state of the service, for Prometheus. A database or a queue
 * that does not answer costs only its own figures.
 */
export const prometheus = new Hono<App>().get("/", requireScope("read"), async (c) => {
  const { analytics, subscriptions, ...settings } = c.get("settings")
  const database = { ...settings.database, deadlineMs: STATE_DEADLINE_MS }
  const text = await sharedAnswer(sharedName(analytics, "counters"), SHARED_SECONDS.counters, async () => {
    const [counters, state, subscribed] = await Promise.all([
      readCounters(analytics, Date.now()),
      readState(database, c.env.QUEUE),
      // Without the setting there are none.
      subscriptions.secrets.length > 0 ? readSubscriptions(database) : [],
    ])
    return counters + gauges(state) + subscriptionGauges(subscribed)
  })
  return c.body(text, 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" })
})

const readSubscriptions = (database: DatabaseSettings) =>
  listSubscriptions(connect(database, { traffic: "reads" })).catch(() => [])

async function readState(database: DatabaseSettings, queue: Queue | undefined): Promise<ServiceState> {
  const db = connect(database, { traffic: "reads" })
  const [isReady, figures, backlog] = await Promise.all([
    canWrite(db).catch(() => false),
    operatingFigures(db).catch(() => undefined),
    queue?.metrics().catch(() => undefined),
  ])
  return { isReady, figures, backlog }
}

/**
 * GET /readyz: whether the service can store a batch now. It needs no key, so it is limited by address. When
 * the database refuses the service, the answer and the log name the same reason.
 */
export const readiness = new Hono<App>().get("/", limitAddress, async (c) => {
  const isWritable = await canWrite(c.get("db")).catch((error: unknown) => {
    if (error instanceof DatabaseError && error.kind === "broken" && error.cure) throw notReady(error.cure)
    throw error
  })
  if (!isWritable) throw notReady("it is read-only, or npm run db:migrate has not finished")
  return c.json({ status: "ready" })
})

/** GET /api/storage: the size of the tables, and when the oldest signals are deleted. */
export const storage = new Hono<App>().get("/", requireScope("read"), async (c) =>
  c.json(await storageFigures(c.get("db"), c.get("settings").retention)),
)
