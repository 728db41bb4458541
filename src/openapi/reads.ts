import * as z from "zod"
import {
  BatchesQuery,
  BatchPath,
  ExportQuery,
  FeedQuery,
  ListQuery,
  MetricsQuery,
  SignalPath,
  StatsQuery,
} from "../http/request/params.ts"
import {
  databaseNotReady,
  feedPositionUnknown,
  notFound,
  overloaded,
  Problem,
  tooManyStreams,
  tooManyWaiting,
  unavailable,
} from "../http/request/problems.ts"
import { MetricsAnswer } from "../metrics/answer.ts"
import { CSV_HEADER, csvLine, ndjsonLine } from "../signals/lines.ts"
import {
  BatchPage,
  BatchRecord,
  FeedAnswer,
  SignalPage,
  SignalStats,
  SignalWithScores,
} from "../signals/responses.ts"
import {
  BATCH_RECORD,
  CONVERSATION,
  COUNTERS,
  METRICS,
  QUEUED_RECORD,
  STORED_SCORE,
  STORED_SIGNAL,
} from "./examples.ts"
import { answer, examplesOf, operation, refusal, TOO_MANY_REQUESTS, unreachable } from "./operation.ts"

const BAD_LIMIT = {
  type: "greater_than_equal",
  loc: ["query", "limit"],
  msg: "Input should be greater than or equal to 1",
  input: "0",
}

const BAD_UUID = { type: "uuid_parsing", msg: "Input should be a valid UUID", input: "latest" }

const EXPORTED_SIGNAL = { ...STORED_SIGNAL, payload: JSON.stringify(STORED_SIGNAL.payload) }

const METRICS_UNAVAILABLE = unreachable(
  "Analytics Engine is not configured or cannot be read; ingestion continues.",
  {
    "not configured": new Problem(
      "metrics_unavailable",
      { detail: "Metrics can't be read: CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN are not both set." },
      databaseNotReady().headers,
    ),
  },
)

export const listSignals = operation({
  id: "listSignals",
  tag: "Signals",
  summary: "List signals, newest first",
  scope: "read",
  params: { query: ListQuery },
  answers: {
    200: answer("One page.", SignalPage, { "last page": { signals: [STORED_SIGNAL], next_cursor: null } }),
  },
  unreadable: { limit: [BAD_LIMIT] },
})

export const exportSignals = operation({
  id: "exportSignals",
  tag: "Signals",
  summary: "Export signals as one stream, newest first",
  description:
    "Every signal that matches, or `limit` of them. A stream that an error or a bound ends early has no end: the HTTP client reports a failed transfer.",
  scope: "read",
  params: { query: ExportQuery },
  answers: {
    200: {
      description: "The stream, in the format that was asked for.",
      content: {
        "application/x-ndjson": {
          schema: z.string().meta({ description: "One signal a line, as in a page." }),
          examples: examplesOf({ "one signal": ndjsonLine(EXPORTED_SIGNAL) }),
        },
        "text/csv": {
          schema: z.string().meta({
            description: 'A header; `payload` is JSON. An empty cell is null, and `""` is an empty text.',
          }),
          examples: examplesOf({ "one signal": `${CSV_HEADER}${csvLine(EXPORTED_SIGNAL)}` }),
        },
      },
    },
    503: unreachable("The database cannot be reached in time, or too many readers stream already.", {
      unreachable: unavailable(),
      "not ready": databaseNotReady(),
      overloaded: overloaded(),
      "too many streams": tooManyStreams(),
    }),
  },
  unreadable: { limit: [BAD_LIMIT] },
})

const FEED_CURSOR = "WzEsIjc0MDIxIiwiMDE5NDY5NGMtNWUzYi03YTNjLTlkMmUtNWYxYjhjNmE0ZTcwIixudWxsXQ"

export const readFeed = operation({
  id: "readFeed",
  tag: "Signals",
  summary: "Follow signals in commit order",
  description:
    "A reader that sends each `next_cursor` as the next `after` sees every signal once, even when transactions were open. " +
    "A signal that was erased before it is read is missing; an edited one has its edited content. A signal comes once more, with `change`, when a score is stored for it.",
  scope: "read",
  params: { query: FeedQuery },
  answers: {
    200: answer("The signals after the cursor.", FeedAnswer, {
      "a signal": { signals: [STORED_SIGNAL], next_cursor: FEED_CURSOR, more: false, lag_seconds: 0 },
      "a signal that was scored": {
        signals: [{ ...STORED_SIGNAL, signal_score: 0.9, change: "score" }],
        next_cursor: FEED_CURSOR,
        more: false,
        lag_seconds: 0,
      },
      "nothing new": { signals: [], next_cursor: FEED_CURSOR, more: false, lag_seconds: 0 },
    }),
    503: unreachable("The database cannot be reached in time, or too many readers wait.", {
      unreachable: unavailable(),
      "not ready": databaseNotReady(),
      overloaded: overloaded(),
      "too many readers": tooManyWaiting(),
    }),
  },
  unreadable: { limit: [BAD_LIMIT], "unknown cursor": feedPositionUnknown() },
})

export const signalStats = operation({
  id: "signalStats",
  tag: "Signals",
  summary: "Count, mean score and newest signal of each conversation",
  scope: "read",
  params: { query: StatsQuery },
  answers: {
    200: answer("Most signals first.", SignalStats, { "one conversation": { stats: [CONVERSATION] } }),
  },
  unreadable: { limit: [BAD_LIMIT] },
})

export const getSignal = operation({
  id: "getSignal",
  tag: "Signals",
  summary: "One signal",
  scope: "read",
  params: { path: SignalPath },
  answers: {
    200: answer("The signal.", SignalWithScores, {
      signal: { ...STORED_SIGNAL, scores: [] },
      scored: { ...STORED_SIGNAL, signal_score: 0.9, scores: [STORED_SCORE] },
    }),
    404: refusal("No signal has this id.", { unknown: notFound("No signal has this id.") }),
  },
  unreadable: {
    id: [
      {
        type: "int_parsing",
        loc: ["path", "id"],
        msg: "Input should be a valid integer, unable to parse string as an integer",
        input: "newest",
      },
    ],
  },
})

export const listBatches = operation({
  id: "listBatches",
  tag: "Batches",
  summary: "The ledger, newest first",
  scope: "read",
  params: { query: BatchesQuery },
  answers: {
    200: answer("One page.", BatchPage, { "last page": { batches: [BATCH_RECORD], next_cursor: null } }),
  },
  unreadable: { cursor: [{ ...BAD_UUID, loc: ["query", "cursor"] }] },
})

export const getBatch = operation({
  id: "getBatch",
  tag: "Batches",
  summary: "One batch of the ledger",
  description: "A key with the scope `ingest` alone sees its own batches.",
  scope: "read",
  params: { path: BatchPath },
  answers: {
    200: answer("The record.", BatchRecord, { stored: BATCH_RECORD, queued: QUEUED_RECORD }),
    404: refusal("No batch has this transaction_id.", {
      unknown: notFound("No batch has this transaction_id."),
    }),
  },
  unreadable: { transaction_id: [{ ...BAD_UUID, loc: ["path", "transaction_id"] }] },
})

export const getMetrics = operation({
  id: "getMetrics",
  tag: "Metrics",
  summary: "Throughput, success and error rate, latency: totals and a series over a window",
  scope: "read",
  params: { query: MetricsQuery },
  answers: { 200: answer("The figures.", MetricsAnswer, { "one hour": METRICS }), 503: METRICS_UNAVAILABLE },
  unreadable: {
    window: [
      {
        type: "literal_error",
        loc: ["query", "window"],
        msg: "Input should be '15m', '1h', '24h' or '7d'",
        input: "1y",
      },
    ],
  },
})

export const getCounters = operation({
  id: "getCounters",
  tag: "Metrics",
  summary: "The counters of the current UTC day, for Prometheus",
  scope: "read",
  answers: {
    200: {
      description: "Prometheus' text format. The counters start again from 0 at 00:00 UTC.",
      content: {
        "text/plain": { schema: z.string(), examples: examplesOf({ "the first lines": COUNTERS }) },
      },
    },
    503: METRICS_UNAVAILABLE,
  },
})

export const isAlive = operation({
  id: "isAlive",
  tag: "Health",
  summary: "Alive",
  answers: {
    200: answer("The Worker runs.", z.object({ status: z.literal("alive") }), { alive: { status: "alive" } }),
  },
})

export const isReady = operation({
  id: "isReady",
  tag: "Health",
  summary: "Ready to write",
  answers: {
    200: answer("The database can store a batch.", z.object({ status: z.literal("ready") }), {
      ready: { status: "ready" },
    }),
    429: TOO_MANY_REQUESTS,
    503: refusal("The database cannot store a batch.", { "not ready": databaseNotReady() }),
  },
})

export const getOpenApi = operation({
  id: "getOpenApi",
  tag: "Health",
  summary: "This document",
  answers: {
    200: answer("OpenAPI 3.1.", z.looseObject({ openapi: z.literal("3.1.1") }), {
      beginning: { openapi: "3.1.1" },
    }),
  },
})
