import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { recordPoint } from "../../metrics/points.ts"
import { isLineFull } from "../../store/database/connection.ts"
import type { App } from "../request/context.ts"
import { pageHeaders } from "../request/origins.ts"
import { overloaded } from "../request/problems.ts"
import { isOverloaded, nextReturn } from "./admission.ts"

/** The refusals of this time share a log line and a data point. */
const REFUSALS_OVER_MS = 1000

/** How many requests have been refused since the last log line. */
let refused = 0

/**
 * Refuses a request when too many wait already, before anything else is done for it: its key, its body, a log
 * line. More callers than an isolate can serve must not take the CPU that is needed to serve some.
 */
export const refuseFirst = createMiddleware<App>(async (c, next) => {
  const isRead = c.req.method === "GET" || c.req.method === "HEAD"
  const isRefused = isRead ? isLineFull("reads") : c.req.method !== "OPTIONS" && isOverloaded()
  if (!isRefused) return next()
  if (refused++ === 0) waitUntil(noteRefusals(c))
  const { body, status, headers } = overloaded(isRead ? undefined : nextReturn())
  return Response.json(body, {
    status,
    headers: {
      ...headers,
      ...pageHeaders(c),
      "Cache-Control": "no-store",
      "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
      "X-Content-Type-Options": "nosniff",
      "X-Request-Id": crypto.randomUUID(),
    },
  })
})

async function noteRefusals({ env }: Context<App>): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, REFUSALS_OVER_MS))
  const count = refused
  refused = 0
  console.log(
    JSON.stringify({ event: "refusals", code: "overloaded", status: 503, count, ms: REFUSALS_OVER_MS }),
  )
  await recordPoint(
    env.METRICS,
    {
      route: "(refused)",
      mode: "",
      outcome: "unavailable",
      status: 503,
      caller: "",
      source: "",
      total: 0,
      latencyMs: 0,
      databaseMs: 0,
      bytes: 0,
      databaseAttempts: 0,
      kind: "",
      skipped: 0,
    },
    { sources: new Map(), codes: new Map() },
  )
}
