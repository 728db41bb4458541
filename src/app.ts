import { waitUntil } from "cloudflare:workers"
import { Hono } from "hono"
import { methodNotAllowed as allowedMethods } from "hono/method-not-allowed"
import { PatternRouter } from "hono/router/pattern-router"
import { secureHeaders } from "hono/secure-headers"
import { readSettings } from "./config.ts"
import { releaseBody } from "./http/body/admission.ts"
import { identifyCaller } from "./http/request/auth.ts"
import { type App, ownerOf } from "./http/request/context.ts"
import { noStore, requestIds, serverTiming } from "./http/request/headers.ts"
import { limitAddress, limitCaller } from "./http/request/limits.ts"
import { logRequest, recordRequest } from "./http/request/observe.ts"
import { allowOrigins, refuseCrossSite } from "./http/request/origins.ts"
import { answerProblem, methodNotAllowed, notFound } from "./http/request/problems.ts"
import { audit } from "./http/routes/audit.ts"
import { ledger, signalBatches } from "./http/routes/batches.ts"
import { deadLetters } from "./http/routes/dead-letters.ts"
import { erasures } from "./http/routes/erasures.ts"
import { exportedSignals } from "./http/routes/export.ts"
import { feed } from "./http/routes/feed.ts"
import { kafkaWebhook } from "./http/routes/kafka.ts"
import { keys } from "./http/routes/keys.ts"
import { scores } from "./http/routes/scores.ts"
import { signals } from "./http/routes/signals.ts"
import { slackWebhook } from "./http/routes/slack.ts"
import { metrics, prometheus, readiness, storage } from "./http/routes/status.ts"
import { subscriptions, wakeDeliveries } from "./http/routes/subscriptions.ts"
import { pathOf, WEBHOOK_SOURCES, type WebhookSource } from "./signals/sources.ts"
import { connect } from "./store/database/connection.ts"

const HANDLERS: Record<WebhookSource, Hono<App>> = { slack: slackWebhook, kafka: kafkaWebhook }

/**
 * The whole service: the middleware of every request, the routes, and the handler that turns errors into
 * answers.
 *
 * Hono's default router cannot have `/stats` beside `/:id`. Of the other routers, the pattern router is the
 * fastest for few routes.
 */
export const app = new Hono<App>({ router: new PatternRouter() })

app.use(
  requestIds,
  logRequest,
  secureHeaders({ contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } }),
  releaseBody,
)

app.get("/healthz", (c) => c.json({ status: "alive" }))

app.use("/api/*", recordRequest, wakeDeliveries, serverTiming)
app.use("/webhooks/*", recordRequest, wakeDeliveries)
app.use("/api/*", allowOrigins)
app.use(
  allowedMethods({ app, onMethodNotAllowed: (c, methods) => answerProblem(methodNotAllowed(methods), c) }),
)
app.use(async (c, next) => {
  const settings = readSettings(c.env)
  c.set("settings", settings)
  const traffic = c.req.method === "GET" || c.req.method === "HEAD" ? "reads" : "writes"
  const options = {
    traffic,
    keepAlive: waitUntil,
    signal: c.req.raw.signal,
    owner: () => ownerOf(c),
  } as const
  c.set("db", connect(settings.database, options))
  await next()
})
app.route("/readyz", readiness)

app.use(refuseCrossSite)
app.use("/api/*", noStore, limitAddress, identifyCaller, limitCaller)
app.use("/metrics", noStore, limitAddress, identifyCaller, limitCaller)
app.use("/webhooks/*", limitAddress)
app.route("/api/signals/batch", signalBatches)
app.route("/api/signals/feed", feed)
app.route("/api/signals/export", exportedSignals)
app.route("/api/signals", signals)
app.route("/api/scores", scores)
app.route("/api/batches", ledger)
app.route("/api/metrics", metrics)
app.route("/metrics", prometheus)
app.route("/api/dead-letters", deadLetters)
app.route("/api/erasures", erasures)
app.route("/api/keys", keys)
app.route("/api/audit", audit)
app.route("/api/subscriptions", subscriptions)
app.route("/api/storage", storage)
for (const source of WEBHOOK_SOURCES) app.route(pathOf(source), HANDLERS[source])

app.notFound((c) => answerProblem(notFound(), c))
app.onError(answerProblem)
