import * as z from "zod"
import { OUTCOMES } from "./points.ts"

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
      "Share of requests whose signals were all stored. Requests turned away (401, 403, 429) do not count; null without other requests.",
  }),
  error_rate: share.meta({
    description:
      "Share of requests that ended in an error. Requests turned away (401, 403, 429) do not count; null without other requests.",
  }),
  latency_ms: z
    .object({ p50: z.number(), p95: z.number(), p99: z.number() })
    .nullable()
    .meta({ description: "Percentiles of the time a request took; null without requests." }),
  outcomes: z.record(z.enum(OUTCOMES), count).meta({ description: "Requests by outcome." }),
})
/** The figures of any set of requests. */
export type Figures = z.infer<typeof Figures>

const steps = (what: string) => z.array(count).meta({ description: `${what} of each step of \`series\`.` })

export const SourceLine = z.object({
  source: z
    .string()
    .nullable()
    .meta({ description: "The `signal_source`; null: all other sources together.", example: "Slack" }),
  signals_created: count,
  signals_created_by_step: steps("Signals"),
})
/** Signals of one source. */
export type SourceLine = z.infer<typeof SourceLine>

export const FailureLine = z.object({
  code: z.string().nullable().meta({
    description: "The code of a failed signal or of a failed request; null: all other codes together.",
    example: "out_of_range",
  }),
  requests: count.meta({ description: "Requests with such a failure, and runs of the queue's consumer." }),
  signals_failed: count.meta({
    description:
      "Signals that failed for it. A request that is refused before its signals are read has none.",
  }),
  requests_by_step: steps("Requests"),
  signals_failed_by_step: steps("Signals"),
})
/** How often one code was the reason of a failure. */
export type FailureLine = z.infer<typeof FailureLine>

export const WINDOWS = ["15m", "1h", "24h", "7d"] as const
export type Window = (typeof WINDOWS)[number]

export const MetricsAnswer = z
  .object({
    window: z.enum(WINDOWS),
    since: instant,
    until: instant,
    measured_since: instant.meta({
      description:
        "Rates are over the time from here to `until`: `since`, or the first request that sends signals if that is later. " +
        "For routes that only read, it is the first request of any kind.",
    }),
    step_seconds: z.int(),
    percentiles: z.literal("exact").meta({
      description: "A percentile is the value at that rank among the stored points, without interpolation.",
    }),
    totals: Figures.meta({
      description: "Figures of the routes that take signals, as in `by_outcome` and `series`.",
    }),
    by_outcome: z.array(z.object({ outcome: z.enum(OUTCOMES), ...Figures.shape })),
    by_route: z
      .array(z.object({ route: z.string(), ...Figures.shape }))
      .meta({ description: "Figures of every route." }),
    sources: z
      .array(SourceLine)
      .meta({ description: "Signals stored by source, the six largest and all others." }),
    failure_codes: z.array(FailureLine).meta({
      description: "Failures of requests that send signals by code, the six most frequent and all others.",
    }),
    skipped: z
      .array(z.object({ route: z.string(), kind: z.string(), events: count }))
      .meta({ description: "Webhook events of kinds that the service does not store, by kind." }),
    scores: z
      .object({ stored: count, waiting: count, duplicate: count, failed: count })
      .meta({ description: "Late scores by what became of them. They are not among the signals." }),
    series: z
      .array(z.object({ time: instant, ...Figures.shape }))
      .meta({ description: "One entry for each step; `time` is its beginning." }),
  })
  .meta({ id: "MetricsAnswer" })
/** The answer of GET /api/metrics. */
export type MetricsAnswer = z.infer<typeof MetricsAnswer>
