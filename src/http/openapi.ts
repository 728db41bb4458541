import * as z from "zod"
import { createDocument, type ZodOpenApiObject, type ZodOpenApiOperationObject, type ZodOpenApiResponseObject } from "zod-openapi"
import { MetricsAnswer } from "../metrics/answer.ts"
import { BatchAnswer, BatchPage, BatchRecord, Failure, SignalPage, SignalStats, StoredSignal } from "../signals/responses.ts"
import { BatchRequest, Signal } from "../signals/schema.ts"
import { BatchPath, BatchQuery, LedgerQuery, ListQuery, MetricsQuery, SignalPath, StatsQuery } from "./queries.ts"

const Problem = z.object({ detail: z.string().meta({ description: "One sentence." }) }).meta({ id: "Problem" })

const ShapeProblem = z
  .object({
    detail: z.array(
      z.object({
        type: z.string().meta({ description: "A Pydantic v2 error type.", example: "missing" }),
        loc: z.array(z.union([z.string(), z.int()])).meta({ example: ["body", "signals", 0, "context_window_id"] }),
        msg: z.string().meta({ example: "Field required" }),
        input: z.unknown().meta({ description: "What was sent, when it is a short value." }).optional(),
      }),
    ),
  })
  .meta({ id: "ShapeProblem" })

const RejectedBatch = z
  .object({
    detail: z
      .string()
      .meta({ example: "Batch failed at index 3: signal_score must be between 0 and 1. No signals were created." }),
    errors: z.array(Failure),
  })
  .meta({ id: "RejectedBatch" })

const UnavailableProblem = z
  .object({
    detail: z.string(),
    transaction_id: z.uuid().optional().meta({ description: "Given when the batch may have been stored." }),
  })
  .meta({ id: "UnavailableProblem" })

const answer = (description: string, schema: z.ZodType): ZodOpenApiResponseObject => ({
  description,
  content: { "application/json": { schema } },
})

const COMMON: ZodOpenApiOperationObject["responses"] = {
  401: answer("No key, or one that is not known.", Problem),
  403: answer("The key lacks the scope.", Problem),
  422: answer("Not readable, or the wrong shape. Every fault is listed, up to 100.", ShapeProblem),
  429: answer("Too many requests; `Retry-After` says when to come back.", Problem),
  503: answer("The database can't be reached in time; `Retry-After` says when to come back.", UnavailableProblem),
}

const METRICS_UNAVAILABLE = answer("Analytics Engine is not configured or can't be read; ingestion goes on.", Problem)

const BODY_LIMITS: ZodOpenApiOperationObject["responses"] = {
  413: answer("Over a limit, which is named.", Problem),
  415: answer("A content type or encoding that is not read here.", Problem),
}

const IdempotencyKey = z.string().min(1).max(255).optional().meta({
  description: "A retry of the same body under the same key returns the first answer again, for 7 days.",
})

const EXAMPLE_SIGNAL = {
  context_window_id: "conv-123",
  raw_content: "Signal 1 content",
  signal_source: "Slack",
  signal_score: 0.85,
  emotional_tone: 0.7,
}

const DESCRIPTION: ZodOpenApiObject = {
  openapi: "3.1.1",
  info: {
    title: "signal-ingest",
    version: "0.1.0",
    description: "Takes signals in batches, checks each, and stores them exactly once.",
  },
  components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
  security: [{ key: [] }],
  paths: {
    "/api/signals/batch": {
      post: {
        summary: "Store a batch of signals in one transaction",
        requestParams: {
          query: BatchQuery,
          header: z.object({
            "Idempotency-Key": IdempotencyKey,
            Prefer: z.string().optional().meta({ description: "`return=minimal` leaves successful items out of `results`." }),
          }),
        },
        requestBody: {
          required: true,
          content: {
            "application/json": { schema: BatchRequest, example: { signals: [EXAMPLE_SIGNAL], fail_on_error: false } },
            "application/x-ndjson": {
              schema: z.string().meta({ description: "One signal a line." }),
              example: JSON.stringify(EXAMPLE_SIGNAL),
            },
          },
        },
        responses: {
          200: answer("Stored; in best-effort mode some signals may have failed.", BatchAnswer),
          400: answer("All or nothing, and a signal broke a rule: nothing was stored.", RejectedBatch),
          ...BODY_LIMITS,
          ...COMMON,
        },
      },
    },
    "/api/signals": {
      post: {
        summary: "Store one signal",
        requestParams: { header: z.object({ "Idempotency-Key": IdempotencyKey }) },
        requestBody: { required: true, content: { "application/json": { schema: Signal, example: EXAMPLE_SIGNAL } } },
        responses: {
          200: answer("A signal with its dedupe_key is stored already: that one.", StoredSignal),
          201: answer("Stored.", StoredSignal),
          ...BODY_LIMITS,
          ...COMMON,
        },
      },
      get: {
        summary: "List signals, newest first",
        requestParams: { query: ListQuery },
        responses: { 200: answer("One page.", SignalPage), ...COMMON },
      },
    },
    "/api/signals/stats": {
      get: {
        summary: "Count, mean score and newest signal of each conversation",
        requestParams: { query: StatsQuery },
        responses: { 200: answer("Most signals first.", SignalStats), ...COMMON },
      },
    },
    "/api/signals/{id}": {
      get: {
        summary: "One signal",
        requestParams: { path: SignalPath },
        responses: { 200: answer("The signal.", StoredSignal), 404: answer("No signal has this id.", Problem), ...COMMON },
      },
    },
    "/api/batches": {
      get: {
        summary: "The ledger, newest first",
        requestParams: { query: LedgerQuery },
        responses: { 200: answer("One page.", BatchPage), ...COMMON },
      },
    },
    "/api/metrics": {
      get: {
        summary: "Throughput, success and error rate, latency: totals and a series over a window",
        requestParams: { query: MetricsQuery },
        responses: { 200: answer("The figures.", MetricsAnswer), ...COMMON, 503: METRICS_UNAVAILABLE },
      },
    },
    "/metrics": {
      get: {
        summary: "The counters of the current UTC day, for Prometheus",
        responses: {
          200: {
            description: "Prometheus' text format. The counters start again from 0 at 00:00 UTC.",
            content: { "text/plain": { schema: z.string(), example: "batch_signals_created_total 1027" } },
          },
          ...COMMON,
          503: METRICS_UNAVAILABLE,
        },
      },
    },
    "/api/batches/{transaction_id}": {
      get: {
        summary: "What the ledger says of a batch",
        requestParams: { path: BatchPath },
        responses: {
          200: answer("The record.", BatchRecord),
          404: answer("No batch has this transaction_id.", Problem),
          ...COMMON,
        },
      },
    },
    "/healthz": { get: { summary: "Alive", security: [], responses: { 200: { description: "It is." } } } },
    "/readyz": {
      get: {
        summary: "Able to write",
        security: [],
        responses: { 200: { description: "It is." }, 503: answer("It is not.", UnavailableProblem) },
      },
    },
    "/openapi.json": { get: { summary: "This document", security: [], responses: { 200: { description: "OpenAPI 3.1." } } } },
  },
}

/** The OpenAPI 3.1 description of the service, made from the schemas that its routes validate with. */
export const openApi = () => createDocument(DESCRIPTION, { allowEmptySchema: { custom: true } })
