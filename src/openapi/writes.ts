import * as z from "zod"
import { ENCODING_NAMES } from "../http/body/encodings.ts"
import { BatchQuery } from "../http/request/params.ts"
import { keyReused, rejectedBatch } from "../http/request/problems.ts"
import { BatchAnswer, BatchRecord, StoredSignal } from "../signals/responses.ts"
import { BatchRequest, Signal } from "../signals/schema.ts"
import {
  BAD_BATCH,
  BAD_SCORE,
  BATCH,
  BATCH_ANSWER,
  LENIENT_ANSWER,
  MINIMAL_ANSWER,
  PARTIAL_ANSWER,
  QUEUED_RECORD,
  SIGNAL,
  STORED_SIGNAL,
} from "./examples.ts"
import { answer, examplesOf, type Headers, operation, rejected } from "./operation.ts"

export const IdempotencyKey = z.string().min(1).max(255).optional().meta({
  description: "A retry of the same body under the same key returns the first answer again, for 7 days.",
})

export const ContentEncoding = z
  .enum([...ENCODING_NAMES, "identity"])
  .optional()
  .meta({ description: "The compression of the body." })

export const REPLAYED: Headers = {
  "Idempotency-Replayed": {
    description: "true: this is the first answer to this Idempotency-Key, returned again.",
    schema: { type: "string", enum: ["true"] },
  },
}

export const applied = (example: string): Headers => ({
  "Preference-Applied": {
    description: "The preferences that the service applied, separated by commas.",
    schema: { type: "string" },
    example,
  },
})

/** The headers of an answer 202. */
export const QUEUED_HEADERS: Headers = {
  ...REPLAYED,
  ...applied("respond-async, handling=lenient"),
  Location: { description: "The batch in the ledger.", schema: { type: "string" } },
}

export const KEY_REUSED = keyReused()

export const createBatch = operation({
  id: "createBatch",
  tag: "Signals",
  summary: "Store a batch of signals in one transaction",
  description:
    "Best effort by default: a signal that breaks a rule fails alone, at its index; a signal of the wrong shape fails the whole batch, unless `Prefer: handling=lenient` is sent. With `fail_on_error` any such signal fails the whole batch.",
  scope: "ingest",
  params: {
    query: BatchQuery,
    header: z.object({
      "Idempotency-Key": IdempotencyKey,
      Prefer: z.string().optional().meta({
        description:
          "`return=minimal` leaves successful items out of `results`; `respond-async` answers 202 once the batch is durably queued; `handling=lenient` lets a signal of the wrong shape, or a line that is not JSON, fail alone in best-effort mode.",
      }),
      "Content-Encoding": ContentEncoding,
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: BatchRequest,
        examples: examplesOf({
          batch: BATCH,
          "one breaks a rule": BAD_BATCH,
          "all or nothing": { ...BATCH, fail_on_error: true },
        }),
      },
      "application/x-ndjson": {
        schema: z.string().meta({ description: "One signal on each line; `fail_on_error` is in the query." }),
        examples: examplesOf({
          "two signals": BATCH.signals.map((signal) => `${JSON.stringify(signal)}\n`).join(""),
        }),
      },
    },
  },
  answers: {
    200: answer(
      "Stored; in best-effort mode some signals may have failed.",
      BatchAnswer,
      {
        stored: BATCH_ANSWER,
        "one failed": PARTIAL_ANSWER,
        minimal: MINIMAL_ANSWER,
        "one of the wrong shape": LENIENT_ANSWER,
        "an unknown field": { ...BATCH_ANSWER, ignored_fields: ["mood"] },
      },
      { ...REPLAYED, ...applied("return=minimal, handling=lenient") },
    ),
    202: answer(
      "Durably queued, as `Prefer: respond-async` asked; the consumer stores it soon.",
      BatchRecord,
      { queued: QUEUED_RECORD },
      QUEUED_HEADERS,
    ),
    400: rejected("All or nothing, and a signal broke a rule: nothing was stored.", {
      "one failed": rejectedBatch([BAD_SCORE]),
    }),
  },
  unreadable: {
    shape: [
      { type: "missing", loc: ["body", "signals", 0, "context_window_id"], msg: "Field required" },
      {
        type: "float_type",
        loc: ["body", "signals", 0, "signal_score"],
        msg: "Input should be a valid number",
        input: "high",
      },
    ],
    "key reused": KEY_REUSED,
  },
})

export const createSignal = operation({
  id: "createSignal",
  tag: "Signals",
  summary: "Store one signal",
  scope: "ingest",
  params: { header: z.object({ "Idempotency-Key": IdempotencyKey, "Content-Encoding": ContentEncoding }) },
  body: {
    required: true,
    content: { "application/json": { schema: Signal, examples: examplesOf({ signal: SIGNAL }) } },
  },
  answers: {
    200: answer(
      "A signal with this `dedupe_key` is already stored. Without the scope `read` the answer may have only `id` and `duplicate`.",
      StoredSignal.partial()
        .required({ id: true })
        .extend({ duplicate: z.literal(true) }),
      {
        duplicate: { ...STORED_SIGNAL, duplicate: true },
        "for a key without read": { id: STORED_SIGNAL.id, duplicate: true },
      },
      REPLAYED,
    ),
    201: answer("Stored.", StoredSignal, { stored: STORED_SIGNAL }, REPLAYED),
  },
  unreadable: {
    rule: [{ type: "value_error", loc: ["body", "signal_score"], msg: BAD_SCORE.error }],
    "key reused": KEY_REUSED,
  },
})
