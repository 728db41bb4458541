import { zValidator } from "@hono/zod-validator"
import { Hono } from "hono"
import { readCounters } from "../../metrics/prometheus.ts"
import { readMetrics } from "../../metrics/read.ts"
import { requireScope } from "../auth.ts"
import type { App } from "../context.ts"
import { MetricsQuery } from "../params.ts"
import { refuseShape } from "../validation.ts"

/** GET /api/metrics: what operators watch, as totals and as a series over a window. */
export const metrics = new Hono<App>().get(
  "/",
  requireScope("read"),
  zValidator("query", MetricsQuery, refuseShape),
  async (c) => {
    const { window } = c.req.valid("query")
    return c.json(await readMetrics(c.get("settings").analytics, window, Date.now()))
  },
)

/** GET /metrics: the same for Prometheus. */
export const prometheus = new Hono<App>().get("/", requireScope("read"), async (c) => {
  const text = await readCounters(c.get("settings").analytics, Date.now())
  return c.body(text, 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" })
})
