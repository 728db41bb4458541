import * as z from "zod"
import { OUTCOMES } from "./point.ts"

const count = z.number().min(0)
const share = z.number().min(0).max(1).nullable()
const instant = z.iso.datetime().meta({ example: "2025-01-15T09:30:00.000Z" })

export const Figures = z.object({
  requests: count,
  batches: count.meta({ description: "Requests to POST /api/signals/batch." }),
  signals_created: count.meta({ description: "Signals added to the table." }),
  signals_failed: count.meta({ description: "Signals that were sent and are not in the table." }),
  signals_duplicate: count.meta({ description: "Signals whose `dedupe_key` was stored before." }),
  requests_per_second: count,
  batches_per_second: count,
  signals_per_second: count.meta({ description: "Signals created per second." }),
  success_rate: share.meta({
    description:
      "Share of requests of which every signal was stored, among all but those turned away (401, 403, 429); null without such requests.",
  }),
  error_rate: share.meta({
    description:
      "Share of requests that ended in an error, among all but those turned away (401, 403, 429); null without such requests.",
  }),
  latency_ms: z
    .object({ p50: z.number(), p95: z.number(), p99: z.number() })
    .nullable()
    .meta({ description: "Percentiles of the time a request took; null without requests." }),
  outcomes: z.record(z.enum(OUTCOMES), count).meta({ description: "Requests by outcome." }),
})
/** The figures of any set of requests. */
export type Figures = z.infer<typeof Figures>

export const WINDOWS = ["15m", "1h", "24h", "7d"] as const
export type Window = (typeof WINDOWS)[number]

export const MetricsAnswer = z
  .object({
    window: z.enum(WINDOWS),
    since: instant,
    until: instant,
    measured_since: instant.meta({
      description:
        "Rates are over the time from here to `until`: `since`, or the first data point where the deployment is younger than the window.",
    }),
    step_seconds: z.int(),
    percentiles: z
      .literal("exact")
      .meta({ description: "Percentiles are the value at that rank among the stored points, not interpolated." }),
    totals: Figures.meta({ description: "Figures of the routes that take signals, as in `by_outcome` and `series`." }),
    by_outcome: z.array(z.object({ outcome: z.enum(OUTCOMES), ...Figures.shape })),
    by_route: z.array(z.object({ route: z.string(), ...Figures.shape })).meta({ description: "Figures of every route." }),
    skipped: z
      .array(z.object({ route: z.string(), kind: z.string(), events: count }))
      .meta({ description: "Webhook events of kinds that the service does not store, by kind." }),
    series: z
      .array(z.object({ time: instant, ...Figures.shape }))
      .meta({ description: "One entry for each step; `time` is its beginning." }),
  })
  .meta({ id: "MetricsAnswer" })
/** The answer of GET /api/metrics. */
export type MetricsAnswer = z.infer<typeof MetricsAnswer>
